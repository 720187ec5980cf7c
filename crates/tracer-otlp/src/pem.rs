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
    /// It is malformed. The message of the parser is left out, because it prints a line of text as a list of numbers.
    #[error("it is not PEM, or it is cut off")]
    Malformed,
    /// No certificate in it can be read.
    #[error("no certificate in it can be read")]
    Unreadable,
}

/// Checks that there are certificates. Bundles of authorities often have a few that cannot be read.
///
/// # Errors
///
/// There is no certificate that can be read.
pub fn check_certificates(text: &[u8]) -> Result<(), PemError> {
    let certificates =
        CertificateDer::pem_slice_iter(text).collect::<Result<Vec<_>, _>>().map_err(|_| PemError::Malformed)?;
    if certificates.is_empty() {
        return Err(PemError::Missing("certificate"));
    }
    match RootCertStore::empty().add_parsable_certificates(certificates) {
        (0, _) => Err(PemError::Unreadable),
        _ => Ok(()),
    }
}

/// Checks that there is a private key.
///
/// # Errors
///
/// There is no private key, or it cannot be read.
pub fn check_key(text: &[u8]) -> Result<(), PemError> {
    match PrivateKeyDer::from_pem_slice(text) {
        Ok(_) => Ok(()),
        Err(pem::Error::NoItemsFound) => Err(PemError::Missing("private key")),
        Err(_) => Err(PemError::Malformed),
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
        assert!(matches!(check_certificates(NOT_DER), Err(PemError::Unreadable)));
        assert!(matches!(check_certificates(&NOT_DER[..30]), Err(PemError::Malformed)));
        assert_eq!(check_key(NOT_DER).unwrap_err().to_string(), "there is no private key in it");
        check_key(KEY).unwrap();
    }
}
