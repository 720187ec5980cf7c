// SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only
/* The BPF object. It joins all the headers. */
#include <stdbool.h>

#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#include "wire.h"
#include "kernel.bpf.h"
#include "architecture.bpf.h"
#include "verifier.bpf.h"
#include "maps.bpf.h"
#include "viewer.bpf.h"
#include "process.bpf.h"
#include "exec.bpf.h"
#include "signal.bpf.h"
#include "socket.bpf.h"
#include "datagram.bpf.h"
#include "flow.bpf.h"
#include "dns.bpf.h"
#include "dns_stream.bpf.h"
#include "tcp.bpf.h"
#include "udp.bpf.h"
#include "syscall.bpf.h"

char LICENSE[] SEC("license") = "Dual MIT/GPL";
