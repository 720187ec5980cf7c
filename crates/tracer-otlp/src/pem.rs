//! Checks of PEM files, so that a wrong file is reported before the command starts.

use rustls::{
    RootCertStore,
    pki_types::{
        CertificateDer, PrivateKeyDer,
        pem::{self, PemObject},
    },
};

/// Why a text is not the PEM that it should be.
#[derive(Debug, thiserror::Error)]
pub enum PemError {
    /// It has no part of this kind.
    #[error("there is no {0} in it")]
    Missing(&'static str),
    /// It is malformed.
    #[error("it is not PEM")]
    Malformed(#[source] pem::Error),
    /// A certificate in it cannot be read.
    #[error("a certificate in it cannot be read")]
    Certificate(#[source] rustls::Error),
}

/// Checks that there are certificates, and that all of them can be read.
///
/// # Errors
///
/// There is no certificate, or one cannot be read.
pub fn check_certificates(text: &[u8]) -> Result<(), PemError> {
    let mut store = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(text) {
        store.add(certificate.map_err(PemError::Malformed)?).map_err(PemError::Certificate)?;
    }
    if store.is_empty() { Err(PemError::Missing("certificate")) } else { Ok(()) }
}

/// Checks that there is a private key.
///
/// # Errors
///
/// There is none.
pub fn check_key(text: &[u8]) -> Result<(), PemError> {
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(_) => Ok(()),
        Err(pem::Error::NoItemsFound) => Err(PemError::Missing("private key")),
        Err(error) => Err(PemError::Malformed(error)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_without_a_certificate_is_refused() {
        const NOT_DER: &[u8] = b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n";
        for text in [&b""[..], b"nonsense", KEY] {
            assert_eq!(check_certificates(text).unwrap_err().to_string(), "there is no certificate in it");
        }
        assert!(matches!(check_certificates(NOT_DER), Err(PemError::Certificate(_))));
        assert!(matches!(check_certificates(&NOT_DER[..30]), Err(PemError::Malformed(_))));
        assert_eq!(check_key(NOT_DER).unwrap_err().to_string(), "there is no private key in it");
        check_key(KEY).unwrap();
    }
}
