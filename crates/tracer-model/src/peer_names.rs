//! The user's names for the services behind hosts: `service.peer.name`.

use std::{str::FromStr, sync::Arc};

use crate::{
    semconv::{self, Kind, NETWORK_PEER_ADDRESS, SERVER_ADDRESS, SERVER_PORT, SERVICE_PEER_NAME, ValueRef},
    span::{Span, Value},
};

/// Names of services, by the host that listens.
///
/// ```
/// use tracer_model::{PeerName, PeerNames};
///
/// let postgres: PeerName = "db.internal:5432=postgres".parse()?;
/// let names: PeerNames = [postgres, "/run/docker.sock=docker".parse()?].into_iter().collect();
/// # Ok::<(), tracer_model::ParsePeerNameError>(())
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PeerNames(Vec<PeerName>);

/// A host, with or without a port, and the name of its service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerName {
    /// A name, an address, or the path of a unix socket.
    host: String,
    /// `None`: any port.
    port: Option<u16>,
    name: Arc<str>,
}

/// A text does not name a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not HOST=NAME; for example: db.internal=postgres")]
pub struct ParsePeerNameError;

impl FromStr for PeerName {
    type Err = ParsePeerNameError;

    fn from_str(text: &str) -> Result<Self, ParsePeerNameError> {
        let (host, name) = text.split_once('=').ok_or(ParsePeerNameError)?;
        let (host, name) = (host.trim(), name.trim());
        // A host with more than one colon is an IPv6 address without a port, unless the address is in brackets.
        let (bare, port) = match host.rsplit_once(':') {
            Some((bare, port)) if !bare.contains(':') || bare.ends_with(']') => {
                (bare, Some(port.parse().map_err(|_| ParsePeerNameError)?))
            }
            _ => (host, None),
        };
        let bare = bare.strip_prefix('[').and_then(|address| address.strip_suffix(']')).unwrap_or(bare);
        if bare.is_empty() || name.is_empty() {
            return Err(ParsePeerNameError);
        }
        Ok(Self { host: bare.to_owned(), port, name: name.into() })
    }
}

impl FromIterator<PeerName> for PeerNames {
    fn from_iter<I: IntoIterator<Item = PeerName>>(names: I) -> Self {
        Self(names.into_iter().collect())
    }
}

impl PeerNames {
    /// If this span is the calling end, adds the name of the other end. The first fitting name counts.
    pub(crate) fn complete(&self, span: &mut Span) {
        if self.0.is_empty() || semconv::kind(span) != Kind::Client {
            return;
        }
        let Some(name) = self.of(span) else { return };
        let own = span.attributes.iter().filter(|(key, _)| key != SERVICE_PEER_NAME).cloned();
        let name = (SERVICE_PEER_NAME.to_owned(), Value::String(name.as_ref().to_owned()));
        span.attributes = own.chain([name]).collect();
    }

    fn of(&self, span: &Span) -> Option<&Arc<str>> {
        let (mut hosts, mut span_port) = (Vec::new(), None);
        for (key, value) in semconv::attributes(span) {
            match (key, value) {
                (SERVER_ADDRESS | NETWORK_PEER_ADDRESS, ValueRef::String(host)) => hosts.push(host),
                (SERVER_PORT, ValueRef::Int(port)) => span_port = u16::try_from(port).ok(),
                _ => {}
            }
        }
        let fits = |known: &&PeerName| {
            known.port.is_none_or(|port| span_port == Some(port))
                && hosts.iter().any(|host| host.eq_ignore_ascii_case(&known.host))
        };
        self.0.iter().find(fits).map(|known| &known.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_can_have_a_port() {
        let read = |text: &str| text.parse::<PeerName>().map(|peer| (peer.host, peer.port, peer.name.to_string()));
        let peer = |host: &str, port, name: &str| Ok((host.to_owned(), port, name.to_owned()));
        assert_eq!(read("db.internal=postgres"), peer("db.internal", None, "postgres"));
        assert_eq!(read(" db:5432 = a=b "), peer("db", Some(5432), "a=b"));
        assert_eq!(read("fe80::1=x"), peer("fe80::1", None, "x"));
        assert_eq!(read("[fe80::1]:80=x"), peer("fe80::1", Some(80), "x"));
        assert_eq!(read("/run/docker.sock=docker"), peer("/run/docker.sock", None, "docker"));
        for malformed in ["", "db", "=x", "db=", "db:port=x", "db:70000=x", "[]=x"] {
            assert_eq!(read(malformed), Err(ParsePeerNameError), "{malformed}");
        }
    }
}
