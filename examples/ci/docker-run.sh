#!/bin/sh
# Docker: traces a command in a container. The image need not have process-tracer, because a volume has the static program.
#
# usage: docker-run.sh IMAGE COMMAND [ARGS]...
#
# PROCESS_TRACER is the static program. DOCKER can be podman. CAPABILITIES can be `--cap-add=BPF --cap-add=PERFMON`: then eBPF also
# records connections, if the seccomp profile allows it (docs/containers.md).
set -eu
image=$1
shift
# shellcheck disable=SC2086 # the capabilities are several words
exec "${DOCKER:-docker}" run --rm ${CAPABILITIES:-} \
    --volume "${PROCESS_TRACER:-/usr/local/bin/process-tracer}:/usr/local/bin/process-tracer:ro" \
    --volume "$PWD:/source" --workdir /source --env OTEL_EXPORTER_OTLP_HEADERS \
    "$image" process-tracer -o summary -o trace.html -o trace.jsonl ${OTLP_ENDPOINT:+--endpoint "$OTLP_ENDPOINT"} -- "$@"
