//! Looks up the address of a collector or of a proxy, and connects to it.
//!
//! A static binary contains a resolver of its own. There, the C library would load libraries of the system, which belong to
//! another C library. Everywhere else, the C library looks up names, as for every other program.

use std::io;

use hyper_util::client::legacy::connect::HttpConnector;
use reqwest::ClientBuilder;
use tokio::net::TcpStream;

#[cfg(target_feature = "crt-static")]
use self::built_in as resolver;
#[cfg(not(target_feature = "crt-static"))]
use self::system as resolver;

/// Connects to the host of a URL. With `connect_lazy` of tonic, the C library would look up the name, also in a
/// static binary.
pub(super) fn connector() -> HttpConnector<resolver::Resolver> {
    let mut connector = HttpConnector::new_with_resolver(resolver::new());
    // An https:// URL is accepted too. tonic adds the TLS.
    connector.enforce_http(false);
    // tonic sets it too. Each request is written at once.
    connector.set_nodelay(true);
    connector
}

/// Lets reqwest look up names in the same way.
pub(super) fn of_http(client: ClientBuilder) -> ClientBuilder {
    resolver::of_http(client)
}

/// Connects to a port.
pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
    resolver::connect(host, port).await
}

/// The resolver of the C library.
#[cfg(not(target_feature = "crt-static"))]
mod system {
    use hyper_util::client::legacy::connect::dns::GaiResolver;

    use super::{ClientBuilder, TcpStream, io};

    pub(super) type Resolver = GaiResolver;

    pub(super) fn new() -> Resolver {
        GaiResolver::new()
    }

    pub(super) fn of_http(client: ClientBuilder) -> ClientBuilder {
        client
    }

    pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
        TcpStream::connect((host, port)).await
    }
}

/// hickory, with /etc/hosts and /etc/resolv.conf. Like the C library, it asks 127.0.0.1 if no server is configured.
#[cfg(target_feature = "crt-static")]
mod built_in {
    use std::{
        net::SocketAddr,
        pin::Pin,
        task::{Context, Poll},
        vec,
    };

    use hickory_resolver::{
        TokioResolver,
        config::LookupIpStrategy,
        net::{NetError, runtime::TokioRuntimeProvider},
        system_conf::parse_resolv_conf,
    };
    use hyper_util::client::legacy::connect::dns::Name;
    use tower::Service;

    use super::{ClientBuilder, TcpStream, io};

    /// It keeps nothing between two lookups: connections are rare, and the servers can change during a run.
    #[derive(Clone, Copy, Debug)]
    pub(in crate::client) struct Resolver;

    type Addresses = vec::IntoIter<SocketAddr>;

    pub(super) fn new() -> Resolver {
        Resolver
    }

    pub(super) fn of_http(client: ClientBuilder) -> ClientBuilder {
        client.dns_resolver(Resolver)
    }

    pub(super) async fn connect(host: &str, port: u16) -> io::Result<TcpStream> {
        let addresses = look_up(host.to_owned()).await?.map(|address| SocketAddr::new(address.ip(), port));
        TcpStream::connect(&*addresses.collect::<Vec<_>>()).await
    }

    async fn look_up(host: String) -> io::Result<Addresses> {
        let look_up = async {
            let (config, options) = configuration()?;
            let mut builder = TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
            *builder.options_mut() = options;
            builder.options_mut().ip_strategy = LookupIpStrategy::Ipv6AndIpv4;
            builder.build()?.lookup_ip(host.as_str()).await
        };
        match look_up.await {
            Ok(found) => Ok(found.iter().map(|ip| SocketAddr::new(ip, 0)).collect::<Vec<_>>().into_iter()),
            Err(error) => Err(io::Error::other(format!("cannot look up '{host}': {error}"))),
        }
    }

    fn configuration()
    -> Result<(hickory_resolver::config::ResolverConfig, hickory_resolver::config::ResolverOpts), NetError> {
        let configured = std::fs::read("/etc/resolv.conf").ok().map(parse_resolv_conf).transpose()?;
        match configured.filter(|(config, _)| !config.name_servers().is_empty()) {
            Some(configured) => Ok(configured),
            None => parse_resolv_conf("nameserver 127.0.0.1\n"),
        }
    }

    impl Service<Name> for Resolver {
        type Response = Addresses;
        type Error = io::Error;
        type Future = Pin<Box<dyn Future<Output = io::Result<Addresses>> + Send>>;

        fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<io::Result<()>> {
            Poll::Ready(Ok(()))
        }

        fn call(&mut self, name: Name) -> Self::Future {
            Box::pin(look_up(name.as_str().to_owned()))
        }
    }

    impl reqwest::dns::Resolve for Resolver {
        fn resolve(&self, name: reqwest::dns::Name) -> reqwest::dns::Resolving {
            let host = name.as_str().to_owned();
            Box::pin(async { Ok(Box::new(look_up(host).await?) as reqwest::dns::Addrs) })
        }
    }
}
