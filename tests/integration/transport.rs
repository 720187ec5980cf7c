//! Mistakes in the address of a collector. Each has a sentence of its own, with the remedy.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    process::Stdio,
    thread,
};

use mock_collector::{MockServer, Protocol, ServerHandle};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
    trace_service_server::{TraceService, TraceServiceServer},
};
use tonic::{
    Request, Response, Status,
    transport::{Certificate, Identity, Server, ServerTlsConfig, server::TcpIncoming},
};

use crate::{
    collector::{Certificates, HttpsServer},
    harness::process_tracer,
};

/// Exports a span to a collector that does not take it. Returns the reason.
async fn reason(endpoint: &str, protocol: &str, variables: &[(&str, String)]) -> String {
    let mut command = tokio::process::Command::from(process_tracer());
    command.args(["--flush-timeout", "5", "--spool", "none", "--endpoint", endpoint, "--protocol", protocol]);
    command.args(["--", "true"]).envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().await.unwrap();
    assert!(output.status.success());
    let stderr = String::from_utf8(output.stderr).unwrap();
    let line = stderr.lines().find(|line| line.contains(" did not reach ")).unwrap_or_else(|| panic!("{stderr}"));
    let (_, reason) = line.split_once(": warning: ").unwrap().1.split_once(": ").unwrap();
    reason.strip_suffix("; not kept, because --spool is none").unwrap().to_owned()
}

async fn mock(protocol: Protocol) -> ServerHandle {
    MockServer::builder().protocol(protocol).start().await.unwrap()
}

/// A server that reads once from each connection, and then sends this answer. Returns its address.
fn server(answer: &'static [u8]) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let serve = move |mut stream: TcpStream| {
        let mut request = [0; 65536];
        let _ = stream.read(&mut request).and_then(|_| stream.write_all(answer));
        let _ = stream.shutdown(std::net::Shutdown::Write);
        // Otherwise the client might find its connection reset, and not read the answer.
        while stream.read(&mut request).is_ok_and(|size| size > 0) {}
    };
    thread::spawn(move || {
        for stream in listener.incoming() {
            thread::spawn(move || serve(stream.unwrap()));
        }
    });
    address
}

/// A collector over gRPC and TLS that may ask for a client certificate. Returns its port.
fn grpc_over_tls(certificates: &Certificates, asks_for_certificate: bool) -> u16 {
    struct Collector;

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            _: Request<ExportTraceServiceRequest>,
        ) -> Result<Response<ExportTraceServiceResponse>, Status> {
            Ok(Response::new(ExportTraceServiceResponse::default()))
        }
    }

    let read = |name: &str| fs::read(certificates.path(name)).unwrap();
    let mut tls = ServerTlsConfig::new().identity(Identity::from_pem(read("server.pem"), read("server.key")));
    if asks_for_certificate {
        tls = tls.client_ca_root(Certificate::from_pem(read("ca.pem")));
    }
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = incoming.local_addr().unwrap().port();
    let server = Server::builder().tls_config(tls).unwrap().add_service(TraceServiceServer::new(Collector));
    tokio::spawn(server.serve_with_incoming(incoming));
    port
}

const GRPC_PORT: &str = "the collector speaks gRPC at this port, and not HTTP; set the protocol to grpc, or use its port \
                         for HTTP, usually 4318";
const HTTP_PORT: &str = "the collector speaks HTTP at this port, and not gRPC; set the protocol to http/protobuf, or use \
                         its port for gRPC, usually 4317";
const PLAIN_PORT: &str = "the collector does not use TLS at this port; begin the endpoint with http://";
const TLS_PORT: &str = "the collector uses TLS at this port; begin the endpoint with https://";
const NO_CERTIFICATE: &str = "the collector asks for a client certificate; set OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE and \
                              OTEL_EXPORTER_OTLP_CLIENT_KEY";
const CREDENTIALS: &str = "; put the credentials into OTEL_EXPORTER_OTLP_HEADERS, such as authorization=Bearer%20TOKEN";

#[tokio::test]
async fn http_to_a_port_for_grpc_has_its_remedy() {
    let grpc = mock(Protocol::Grpc).await;
    assert_eq!(reason(&format!("http://{}", grpc.addr()), "http/protobuf", &[]).await, GRPC_PORT);

    let certificates = Certificates::make();
    let authority = [("OTEL_EXPORTER_OTLP_CERTIFICATE", certificates.path("ca.pem"))];
    let port = grpc_over_tls(&certificates, false);
    assert_eq!(reason(&format!("https://127.0.0.1:{port}"), "http/protobuf", &authority).await, GRPC_PORT);

    // The answer of a server that accepts HTTP/1, too.
    let both =
        server(b"HTTP/1.1 200 OK\r\ncontent-type: application/grpc\r\ngrpc-status: 12\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(reason(&format!("http://{both}"), "http/protobuf", &[]).await, GRPC_PORT);
}

#[tokio::test]
async fn grpc_to_a_port_for_http_has_its_remedy() {
    let http = mock(Protocol::HttpBinary).await;
    let expected = "the collector answers 404 Not Found; this answer is HTTP, and not gRPC; set the protocol to \
                    http/protobuf, or use the port for gRPC, usually 4317";
    assert_eq!(reason(&format!("http://{}", http.addr()), "grpc", &[]).await, expected);
    let old = server(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n");
    assert_eq!(reason(&format!("http://{old}"), "grpc", &[]).await, HTTP_PORT);

    let certificates = Certificates::make();
    let server = HttpsServer::start(&certificates);
    let variables = [
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificates.path("ca.pem")),
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificates.path("client.pem")),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", certificates.path("client.key")),
    ];
    assert_eq!(reason(&format!("https://127.0.0.1:{}", server.port), "grpc", &variables).await, HTTP_PORT);
}

#[tokio::test]
async fn tls_to_a_plain_port_has_its_remedy() {
    let servers = [mock(Protocol::HttpBinary).await, mock(Protocol::Grpc).await];
    for server in servers {
        for protocol in ["http/protobuf", "grpc"] {
            assert_eq!(reason(&format!("https://{}", server.addr()), protocol, &[]).await, PLAIN_PORT);
        }
    }
}

#[tokio::test]
async fn a_plain_request_to_a_port_with_tls_has_its_remedy() {
    let certificates = Certificates::make();
    let http = HttpsServer::start(&certificates);
    for port in [http.port, grpc_over_tls(&certificates, false)] {
        for protocol in ["http/protobuf", "grpc"] {
            assert_eq!(reason(&format!("http://127.0.0.1:{port}"), protocol, &[]).await, TLS_PORT);
        }
    }
    // As Go and nginx answer.
    for (answer, words) in [
        (
            &b"HTTP/1.0 400 Bad Request\r\n\r\nClient sent an HTTP request to an HTTPS server.\n"[..],
            "Client sent an HTTP request to an HTTPS server.",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\nThe plain HTTP request was sent to HTTPS port",
            "The plain HTTP request was sent to HTTPS port",
        ),
    ] {
        let expected = format!("the collector answers 400 Bad Request: {words}; begin the endpoint with https://");
        assert_eq!(reason(&format!("http://{}", server(answer)), "http/protobuf", &[]).await, expected);
    }
}

#[tokio::test]
async fn a_missing_client_certificate_has_its_remedy() {
    let certificates = Certificates::make();
    let authority = [("OTEL_EXPORTER_OTLP_CERTIFICATE", certificates.path("ca.pem"))];
    let http = HttpsServer::start(&certificates);
    let reason_at = async |port, protocol| reason(&format!("https://127.0.0.1:{port}"), protocol, &authority).await;
    assert_eq!(reason_at(http.port, "http/protobuf").await, NO_CERTIFICATE);
    assert_eq!(reason_at(grpc_over_tls(&certificates, true), "grpc").await, NO_CERTIFICATE);
}

#[tokio::test]
async fn certificates_that_are_not_trusted_have_their_remedies() {
    let certificates = Certificates::of_authority();
    let server = HttpsServer::start(&certificates);
    let endpoint = format!("https://127.0.0.1:{}", server.port);
    for protocol in ["http/protobuf", "grpc"] {
        let variables = [("OTEL_EXPORTER_OTLP_CERTIFICATE", certificates.path("ca.pem"))];
        assert_eq!(
            reason(&endpoint, protocol, &variables).await,
            "the collector's own certificate is one of an authority (CA:TRUE); give the collector a certificate with CA:FALSE"
        );
    }
    let certificates = Certificates::make();
    let server = HttpsServer::start(&certificates);
    let endpoint = format!("https://127.0.0.1:{}", server.port);
    for protocol in ["http/protobuf", "grpc"] {
        assert_eq!(
            reason(&endpoint, protocol, &[]).await,
            "the authority of the collector's certificate is not trusted; set OTEL_EXPORTER_OTLP_CERTIFICATE to the PEM \
             file of the authority"
        );
    }
}

#[tokio::test]
async fn missing_credentials_have_their_remedy_and_the_words_of_the_collector() {
    let http = server(b"HTTP/1.1 401 Unauthorized\r\ncontent-length: 14\r\n\r\nno tenant here");
    let shown = reason(&format!("http://{http}"), "http/protobuf", &[]).await;
    assert_eq!(shown, format!("the collector answers 401 Unauthorized: no tenant here{CREDENTIALS}"));
    let header = [("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20old".to_owned())];
    let shown = reason(&format!("http://{http}"), "http/protobuf", &header).await;
    assert_eq!(
        shown,
        "the collector answers 401 Unauthorized: no tenant here; check the credentials in OTEL_EXPORTER_OTLP_HEADERS"
    );

    // A proxy in front of a collector answers gRPC in HTTP/2.
    let proxy = axum::Router::new().fallback(|| async { (http::StatusCode::UNAUTHORIZED, "no tenant here") });
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let routes = tonic::service::Routes::from(proxy);
    tokio::spawn(Server::builder().add_routes(routes).serve_with_incoming(TcpIncoming::from(listener)));
    let shown = reason(&format!("http://{address}"), "grpc", &[]).await;
    assert_eq!(shown, format!("the collector answers 401 Unauthorized: no tenant here{CREDENTIALS}"));
}

#[tokio::test]
async fn other_failures_keep_their_words() {
    // A server that closes each connection, and one that is no collector.
    for (answer, words) in [(&b""[..], "connection closed before message completed"), (b"SSH-2.0-x\r\n", "")] {
        let shown = reason(&format!("http://{}", server(answer)), "http/protobuf", &[]).await;
        assert!(!shown.contains("the collector") && shown.starts_with(words), "{shown}");
    }
}

#[test]
fn a_request_without_spans_has_a_length() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", listener.local_addr().unwrap());
    let mut doctor = process_tracer().args(["doctor", "--endpoint", &endpoint]).stdout(Stdio::null()).spawn().unwrap();
    let (mut stream, _) = listener.accept().unwrap();
    let mut request = [0; 4096];
    let size = stream.read(&mut request).unwrap();
    stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
    doctor.wait().unwrap();
    let head = String::from_utf8_lossy(&request[..size]).to_lowercase();
    assert!(head.contains("\r\ncontent-length: 0\r\n"), "{head}");
}
