#!/bin/sh
# Docker: traces a command in a container. The image need not have process-tracer: a volume brings the static program of a release.
#
# usage: docker-run.sh IMAGE COMMAND [ARGS]...
#
# PROCESS_TRACER is the path of the static program. DOCKER can be podman. OPTIONS are more options of `docker run`. With
# `--cap-add BPF --cap-add PERFMON`, eBPF also records connections, if the seccomp profile allows it (docs/containers.md).
set -eu
image=$1
shift
# shellcheck disable=SC2086 # the options are several words
exec "${DOCKER:-docker}" run --rm ${OPTIONS:-} \
    --volume "${PROCESS_TRACER:-/usr/local/bin/process-tracer}:/process-tracer:ro" \
    --volume "$PWD:/source" --workdir /source --env OTEL_EXPORTER_OTLP_HEADERS \
    "$image" \
    /process-tracer -o summary -o trace.html -o trace.jsonl ${OTLP_ENDPOINT:+--endpoint "$OTLP_ENDPOINT"} -- "$@"
