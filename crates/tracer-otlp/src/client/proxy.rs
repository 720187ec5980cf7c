//! The HTTP proxy of a gRPC connection. For OTLP/HTTP, reqwest uses the same rules by itself.

use std::error::Error;

use http::Uri;
use hyper_util::{
    client::{legacy::connect::proxy::Tunnel, proxy::matcher::Matcher},
    rt::TokioIo,
};
use tokio::net::TcpStream;
use tower::{Service, ServiceExt};

use super::{answer::innermost, resolve};

/// Connects to a collector through the proxy that the variables name for it: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`,
/// `NO_PROXY`. gRPC needs a tunnel, also without TLS, because a proxy forwards no HTTP/2. `None`: there is no proxy for it.
pub(super) fn connector(
    collector: &Uri,
) -> Option<impl Service<Uri, Response = TokioIo<TcpStream>, Error = String, Future: Send> + Send + use<>> {
    let proxy = Matcher::from_env().intercept(collector)?;
    let shown = proxy.uri().authority().map(ToString::to_string).unwrap_or_default();
    let mut connector = resolve::connector();
    // Without this, the password for an https:// proxy would be sent without TLS.
    connector.enforce_http(true);
    let tunnel = Tunnel::new(proxy.uri().clone(), connector);
    let tunnel = match proxy.basic_auth() {
        Some(password) => tunnel.with_auth(password.clone()),
        None => tunnel,
    };
    let explain = move |error| format!("proxy {shown}: {}", innermost(&error as &(dyn Error + 'static)));
    Some(tunnel.map_request(with_port).map_err(explain))
}

/// Adds the port of http, because the tunnel uses 443 if there is no port.
fn with_port(uri: Uri) -> Uri {
    let is_plain = uri.scheme_str() == Some("http") && uri.port().is_none();
    let plain = uri.host().filter(|_| is_plain).and_then(|host| format!("http://{host}:80").parse().ok());
    plain.unwrap_or(uri)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_port_the_port_of_the_scheme_is_used() {
        for (uri, expected) in [
            ("http://a.test", "http://a.test:80/"),
            ("http://[::1]", "http://[::1]:80/"),
            ("http://a.test:4317", "http://a.test:4317/"),
            ("https://a.test", "https://a.test/"),
        ] {
            assert_eq!(with_port(uri.parse().unwrap()), expected.parse::<Uri>().unwrap());
        }
    }
}
