//! Export over both protocols: to a real collector, compared field by field; over TLS; to absent collectors.

use std::{
    fs,
    io::{Read, Write},
    net::{TcpListener, TcpStream},
    path::Path,
    process::Stdio,
    sync::{Arc, Mutex},
    thread,
};

use mock_collector::{MockServer, Protocol};
use tracer_model::semconv::ATTRIBUTES;

use crate::{
    harness::{Run, process_tracer, trace_with, workload},
    rotel::{Rotel, wait_until},
    trace::{Span, Trace},
};

/// Traces processes that talk to each other. The trace goes to a collector and, for the comparison, into a file.
fn trace_to(endpoint: &str, protocol: &str) -> Run {
    let flags = ["--endpoint", endpoint, "--protocol", protocol, "-o", "otlp", "-a", "n=len(args)", "-a", "x=[1.5]"];
    trace_with(&flags, &[workload().to_str().unwrap(), "talk", "127.0.0.1", "handover"])
}

/// Each span of the file has arrived with all fields.
fn assert_received(rotel: &Rotel, trace: &Trace) {
    let received = rotel.received(trace.spans.len());
    assert_eq!(received.len(), trace.spans.len());
    for span in &trace.spans {
        let lines = &received[&span.span_id];
        for line in expected(span) {
            assert!(lines.contains(&line), "{line:?} is not in {lines:#?}");
        }
        let attributes = span.attributes.len() + span.events.iter().map(|event| event.attributes.len()).sum::<usize>();
        let values = lines.iter().filter(|line| line.starts_with("-> ") && line.contains('('));
        assert_eq!(values.count(), attributes, "{lines:#?}");
    }
}

fn expected(span: &Span) -> Vec<String> {
    let mut lines = vec![
        format!("Trace ID       : {}", span.trace_id),
        format!("Parent ID      : {}", span.parent_id).trim().to_owned(),
        format!("Name           : {}", span.name),
        format!(
            "Kind           : {}",
            ["?", "SPAN_KIND_INTERNAL", "SPAN_KIND_SERVER", "SPAN_KIND_CLIENT"][span.kind as usize]
        ),
        format!("Start time: {}", span.start),
        format!("End time: {}", span.end),
        format!("Status code    : {}", if span.status == 2 { "STATUS_CODE_ERROR" } else { "STATUS_CODE_UNSET" }),
        format!("Status message : {}", span.status_message).trim().to_owned(),
    ];
    let events = span.events.iter();
    lines.extend(events.clone().map(|event| format!("-> Name: {}", event.name)));
    lines.extend(events.clone().map(|event| format!("-> Timestamp: {}", event.at)));
    let of_events = events.flat_map(|event| &event.attributes);
    for (key, value) in span.attributes.iter().chain(of_events) {
        lines.push(format!("-> {key}: {}", as_rotel_prints(key, value)));
    }
    lines
}

fn as_rotel_prints(key: &str, value: &str) -> String {
    if let Some(items) = value.strip_prefix('[').and_then(|value| value.strip_suffix(']')) {
        let kind = if key == "x" { "Double" } else { "Str" };
        let items: Vec<_> = items.split(", ").map(|item| format!("{kind}({item})")).collect();
        return format!("Slice({})", items.join(", "));
    }
    if ATTRIBUTES.iter().any(|attribute| attribute.key == key && attribute.kind == "double") {
        return format!("Double({})", value.parse::<f64>().unwrap());
    }
    let is_number = !["error.type"].contains(&key) && value.parse::<i64>().is_ok();
    let kind = match value {
        "true" | "false" => "Bool",
        _ if is_number => "Int",
        _ => "Str",
    };
    format!("{kind}({value})")
}

#[test]
fn a_real_collector_receives_everything_over_http() {
    let rotel = Rotel::start();
    let run = trace_to(&rotel.http, "http/protobuf");
    run.trace.assert_complete();
    assert!(run.stderr.contains(&format!("to {}/v1/traces", rotel.http)), "{}", run.stderr);
    assert_received(&rotel, &run.trace);
}

#[test]
fn a_real_collector_receives_everything_as_json() {
    let rotel = Rotel::start();
    let run = trace_to(&rotel.http, "http/json");
    run.trace.assert_complete();
    assert_received(&rotel, &run.trace);
}

#[test]
fn a_real_collector_receives_everything_over_grpc() {
    let rotel = Rotel::start();
    let run = trace_to(&rotel.grpc, "grpc");
    run.trace.assert_complete();
    assert_received(&rotel, &run.trace);
}

#[test]
fn a_large_trace_arrives_complete_over_both_protocols() {
    let rotel = Rotel::start();
    for (endpoint, protocol, before) in [(&rotel.http, "http/protobuf", 0), (&rotel.grpc, "grpc", 10_001)] {
        let flags = ["--endpoint", endpoint, "--protocol", protocol, "-o", "otlp"];
        let run = trace_with(&flags, &[workload().to_str().unwrap(), "forks", "10000"]);
        run.trace.assert_complete();
        let received = rotel.received(before + 10_001);
        assert_eq!(received.len(), before + 10_001);
        assert!(run.trace.spans.iter().all(|span| received.contains_key(&span.span_id)));
    }
}

#[test]
fn a_real_collector_with_a_small_limit_receives_everything_over_grpc() {
    let rotel = Rotel::start_with(&["--otlp-grpc-max-recv-msg-size-mib", "1"]);
    let script = r#"i=0; large=$(head -c 20000 /dev/zero | tr '\0' x); while [ $i -lt 50 ]; do /bin/true $large; i=$((i+1)); done"#;
    let flags = ["--endpoint", &rotel.grpc, "--protocol", "grpc", "-o", "otlp", "--spool", "none"];
    let run = trace_with(&flags, &["sh", "-c", script]);
    run.trace.assert_complete();
    assert!(run.stderr.trim_end().ends_with(", complete"), "{}", run.stderr);
    assert_eq!(rotel.received(run.trace.spans.len()).len(), run.trace.spans.len());
}

/// Traces `true` with these variables. In the meantime, the test's server can answer. Returns stderr.
async fn trace_true(variables: &[(&str, String)]) -> String {
    let mut command = tokio::process::Command::from(process_tracer());
    command.args(["--", "true"]).envs(variables.iter().map(|(name, value)| (name, value)));
    let output = command.output().await.unwrap();
    assert!(output.status.success());
    String::from_utf8_lossy(&output.stderr).into_owned()
}

#[tokio::test]
async fn the_variables_of_opentelemetry_lead_to_the_collector() {
    for (protocol, name, compression) in [
        (Protocol::HttpBinary, "http/protobuf", "gzip"),
        (Protocol::HttpJson, "http/json", "gzip"),
        (Protocol::HttpJson, "http/json", "none"),
        (Protocol::Grpc, "grpc", "gzip"),
        (Protocol::Grpc, "grpc", "none"),
    ] {
        let server = MockServer::builder().protocol(protocol).start().await.unwrap();
        let stderr = trace_true(&[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("http://{}", server.addr())),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", name.to_owned()),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", compression.to_owned()),
            ("OTEL_SERVICE_NAME", "by-variable".to_owned()),
        ])
        .await;
        assert!(stderr.contains(", complete"), "{stderr}");
        server
            .with_collector(|collector| {
                assert_eq!(collector.span_count(), 1);
                collector
                    .expect_span_with_name("true")
                    .with_resource_attributes([("service.name", "by-variable")])
                    .assert_exists();
            })
            .await;
        server.shutdown().await.unwrap();
    }
}

/// An HTTP proxy that knows only CONNECT. The proxy connects all clients to the same server.
struct Proxy {
    address: String,
    /// The head of each request.
    heads: Arc<Mutex<Vec<String>>>,
}

impl Proxy {
    fn start(server: std::net::SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let heads = Arc::new(Mutex::new(Vec::new()));
        thread::spawn({
            let heads = Arc::clone(&heads);
            move || {
                for client in listener.incoming() {
                    let mut client = client.unwrap();
                    let (mut head, mut byte) = (Vec::new(), [0]);
                    while !head.ends_with(b"\r\n\r\n") && client.read(&mut byte).is_ok_and(|size| size > 0) {
                        head.extend(byte);
                    }
                    heads.lock().unwrap().push(String::from_utf8(head).unwrap());
                    client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
                    let server = TcpStream::connect(server).unwrap();
                    for (mut from, mut to) in
                        [(client.try_clone().unwrap(), server.try_clone().unwrap()), (server, client)]
                    {
                        thread::spawn(move || {
                            let _ = std::io::copy(&mut from, &mut to);
                            let _ = to.shutdown(std::net::Shutdown::Write);
                        });
                    }
                }
            }
        });
        Self { address, heads }
    }

    /// The first lines of the requests.
    fn requests(&self) -> Vec<String> {
        self.heads.lock().unwrap().iter().map(|head| head.lines().next().unwrap_or_default().to_owned()).collect()
    }
}

#[tokio::test]
async fn grpc_uses_the_proxy_of_the_environment() {
    let server = MockServer::builder().protocol(Protocol::Grpc).start().await.unwrap();
    let proxy = Proxy::start(server.addr());
    // No resolver knows this name, so only the proxy can find it.
    let base = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector.invalid:4317".to_owned()),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc".to_owned()),
        ("HTTP_PROXY", format!("http://user:pass@{}", proxy.address)),
        ("PROCESS_TRACER_SPOOL", "none".to_owned()),
    ];
    let stderr = trace_true(&base).await;
    assert!(stderr.contains(", complete"), "{stderr}");
    assert_eq!(proxy.requests(), ["CONNECT collector.invalid:4317 HTTP/1.1"]);
    let head = proxy.heads.lock().unwrap()[0].clone();
    assert!(head.contains("Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"), "{head}");
    server.with_collector(|collector| assert_eq!(collector.span_count(), 1)).await;

    let excepted = [&base[..], &[("NO_PROXY", "127.0.0.1,.invalid".to_owned())]].concat();
    let stderr = trace_true(&excepted).await;
    assert!(stderr.contains("did not reach"), "{stderr}");
    assert_eq!(proxy.requests().len(), 1);

    let nobody = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let stderr = trace_true(&[&base[..2], &[("http_proxy", format!("http://{nobody}"))], &base[3..]].concat()).await;
    assert!(stderr.contains(&format!("proxy {nobody}: Connection refused")), "{stderr}");
    server.shutdown().await.unwrap();
}

#[test]
fn an_absent_collector_prints_a_warning_and_the_exit_status_is_kept() {
    for protocol in ["http/protobuf", "grpc"] {
        let flags =
            ["--spool=none", "--endpoint", "http://127.0.0.1:9", "--protocol", protocol, "--", "sh", "-c", "exit 3"];
        let output = process_tracer().args(flags).output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3));
        assert!(stderr.contains("1 of 1 span did not reach http://127.0.0.1:9"), "{stderr}");
        assert!(stderr.to_lowercase().contains("connection refused"), "{stderr}");
        assert!(stderr.contains("incomplete: not all delivered"), "{stderr}");
    }
}

#[test]
fn a_collector_that_never_answers_does_not_delay_the_exit() {
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    for protocol in ["http/protobuf", "grpc"] {
        let endpoint = format!("http://{}", silent.local_addr().unwrap());
        let mut command = process_tracer();
        command.args([
            "--endpoint",
            &endpoint,
            "--protocol",
            protocol,
            "--",
            "sh",
            "-c",
            "/bin/true; sleep 1.5; exit 3",
        ]);
        let output = command.env("OTEL_EXPORTER_OTLP_TIMEOUT", "500").output().unwrap();
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(3));
        assert!(stderr.contains("3 of 3 spans did not reach"), "{stderr}");
    }
}

#[test]
fn a_disabled_sdk_sends_nothing() {
    let mut command = process_tracer();
    command.args(["--endpoint", "http://127.0.0.1:9", "--", "true"]).env("OTEL_SDK_DISABLED", "true");
    let output = command.output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success());
    assert!(stderr.contains("OTEL_SDK_DISABLED is true") && !stderr.contains("did not reach"), "{stderr}");
    let output = command.env("PROCESS_TRACER_QUIET", "1").output().unwrap();
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && stderr.lines().count() == 1, "there is only the warning: {stderr}");
}

/// Certificates of a test authority: one for a server on 127.0.0.1, one for a client.
pub struct Certificates {
    folder: tempfile::TempDir,
}

impl Certificates {
    pub fn make() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};
        let folder = tempfile::tempdir().unwrap();
        let authority_key = KeyPair::generate().unwrap();
        let mut authority = CertificateParams::new(Vec::new()).unwrap();
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        fs::write(folder.path().join("ca.pem"), authority.self_signed(&authority_key).unwrap().pem()).unwrap();
        let issuer = Issuer::new(authority, authority_key);
        for name in ["server", "client"] {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
            // With the authority's name the certificate would look self-signed.
            params.distinguished_name.push(DnType::CommonName, name);
            fs::write(folder.path().join(format!("{name}.pem")), params.signed_by(&key, &issuer).unwrap().pem())
                .unwrap();
            fs::write(folder.path().join(format!("{name}.key")), key.serialize_pem()).unwrap();
        }
        Self { folder }
    }

    /// A server whose certificate is that of the authority itself.
    pub fn of_authority() -> Self {
        use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
        let folder = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap().pem();
        for (name, content) in
            [("ca.pem", &certificate), ("server.pem", &certificate), ("server.key", &key.serialize_pem())]
        {
            fs::write(folder.path().join(name), content).unwrap();
        }
        Self { folder }
    }

    pub fn path(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }
}

/// An HTTPS server that asks for a client certificate. It records each request.
pub struct HttpsServer {
    process: std::process::Child,
    pub port: u16,
}

impl HttpsServer {
    pub fn start(certificates: &Certificates) -> Self {
        let script = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/integration/https_collector.py");
        let port_file = certificates.folder.path().join("port");
        let process = std::process::Command::new(crate::harness::python())
            .arg(script)
            .arg(certificates.folder.path())
            .stdin(Stdio::null())
            .spawn()
            .unwrap();
        let read = |path: &Path| fs::read_to_string(path).ok().and_then(|text| text.trim().parse().ok());
        wait_until("the HTTPS server listens", || read(&port_file).is_some());
        Self { process, port: read(&port_file).unwrap() }
    }
}

impl Drop for HttpsServer {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[tokio::test]
async fn https_works_with_the_authority_and_the_client_certificate_of_the_user() {
    let certificates = Certificates::make();
    let server = HttpsServer::start(&certificates);
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", format!("https://127.0.0.1:{}", server.port));
    let authority = ("OTEL_EXPORTER_OTLP_CERTIFICATE", certificates.path("ca.pem"));
    let identity = [
        ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", certificates.path("client.pem")),
        ("OTEL_EXPORTER_OTLP_CLIENT_KEY", certificates.path("client.key")),
    ];

    let unknown = trace_true(&[endpoint.clone(), identity[0].clone(), identity[1].clone()]).await;
    assert!(unknown.contains("did not reach") && unknown.contains("certificate"), "{unknown}");
    assert!(unknown.contains("1 span kept; to deliver: "), "{unknown}");
    let anonymous = trace_true(&[endpoint.clone(), authority.clone()]).await;
    assert!(anonymous.contains("did not reach"), "{anonymous}");
    let received = certificates.folder.path().join("received");
    assert!(!received.exists());

    let stderr = trace_true(&[endpoint, authority, identity[0].clone(), identity[1].clone()]).await;
    assert!(stderr.contains(", complete"), "{stderr}");
    assert!(fs::read_to_string(received).unwrap().starts_with("POST /v1/traces application/x-protobuf "));
}

#[tokio::test]
async fn grpc_works_over_tls_with_the_authority_and_the_client_certificate_of_the_user() {
    use opentelemetry_proto::tonic::collector::trace::v1::{
        ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    };
    use tonic::{
        Request, Response, Status,
        transport::{Certificate, Identity, Server, ServerTlsConfig, server::TcpIncoming},
    };

    struct Collector(tokio::sync::mpsc::UnboundedSender<usize>);

    #[tonic::async_trait]
    impl TraceService for Collector {
        async fn export(
            &self,
            request: Request<ExportTraceServiceRequest>,
        ) -> Result<Response<ExportTraceServiceResponse>, Status> {
            let scopes = request.get_ref().resource_spans.iter().flat_map(|resource| &resource.scope_spans);
            self.0.send(scopes.map(|scope| scope.spans.len()).sum()).unwrap();
            Ok(Response::new(ExportTraceServiceResponse::default()))
        }
    }

    let certificates = Certificates::make();
    let read = |name: &str| fs::read(certificates.path(name)).unwrap();
    let tls = ServerTlsConfig::new()
        .identity(Identity::from_pem(read("server.pem"), read("server.key")))
        .client_ca_root(Certificate::from_pem(read("ca.pem")));
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let port = incoming.local_addr().unwrap().port();
    let (sender, mut received) = tokio::sync::mpsc::unbounded_channel();
    let server = Server::builder().tls_config(tls).unwrap().add_service(TraceServiceServer::new(Collector(sender)));
    tokio::spawn(server.serve_with_incoming(incoming));

    let base = [
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", format!("https://127.0.0.1:{port}")),
        ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc".to_owned()),
    ];
    let unknown = trace_true(&base).await;
    assert!(unknown.contains("did not reach"), "{unknown}");
    assert!(received.try_recv().is_err());

    let [endpoint, protocol] = base;
    let all = [
        endpoint,
        protocol,
        ("OTEL_EXPORTER_OTLP_TRACES_CERTIFICATE", certificates.path("ca.pem")),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_CERTIFICATE", certificates.path("client.pem")),
        ("OTEL_EXPORTER_OTLP_TRACES_CLIENT_KEY", certificates.path("client.key")),
    ];
    let stderr = trace_true(&all).await;
    assert!(stderr.contains(", complete"), "{stderr}");
    assert_eq!(received.recv().await, Some(1));

    let proxy = Proxy::start(([127, 0, 0, 1], port).into());
    let of_proxy = [("HTTPS_PROXY", format!("http://{}", proxy.address))];
    let stderr = trace_true(&[&all[..], &of_proxy].concat()).await;
    assert!(stderr.contains(", complete"), "{stderr}");
    assert_eq!(received.recv().await, Some(1));
    assert_eq!(proxy.requests(), [format!("CONNECT 127.0.0.1:{port} HTTP/1.1")]);
}
