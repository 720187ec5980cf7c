/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * All code that depends on the processor: the registers of a system call, and the numbers of system calls. The object
 * is the same for all processors. At load time CO-RE decides which structure the kernel has, and the verifier drops the
 * other branch.
 */
#ifndef TRACER_ARCHITECTURE_BPF_H
#define TRACER_ARCHITECTURE_BPF_H

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

/* The registers of a system call on x86-64: its number, and its first four arguments. */
struct pt_regs___x86 {
	unsigned long orig_ax;
	unsigned long di;
	unsigned long si;
	unsigned long dx;
	unsigned long r10;
	unsigned long bx;
	unsigned long cx;
	unsigned long cs;
};

/* The registers of a system call on arm64. The result overwrites the first argument. */
struct pt_regs___arm {
	__u64 orig_x0;
	__u64 regs[31];
	__u64 pstate;
	int syscallno;
};

#pragma clang attribute pop

#define CALL_OTHER	0
#define CALL_EXECVE	1
#define CALL_EXECVEAT	2
#define CALL_CONNECT	3
#define CALL_SOCKETCALL 4  /* socketcall(2) of 32-bit programs on x86, which may be connect(2) */
#define CALL_KIND	7  /* mask of these */
#define CALL_32BIT	16 /* its numbers and its arguments are those of 32-bit programs */

/* include/uapi/linux/net.h */
#define SYS_CONNECT 3

/* arch/x86/include/asm/thread_info.h: the current system call is one of 32-bit programs. 64-bit programs can make it
 * too. */
#define TS_COMPAT 2

/* arch/arm64/include/uapi/asm/ptrace.h */
#define PSR_MODE32_BIT 0x10

/*
 * The system call, by its number: arch/x86/entry/syscalls/syscall_64.tbl and syscall_32.tbl,
 * include/uapi/asm-generic/unistd.h, arch/arm64/tools/syscall_32.tbl. On x86 a number can belong to either table: see
 * has_numbers_of().
 */
static __always_inline int call_of(void *registers)
{
	struct pt_regs___x86 *x86 = registers;
	struct pt_regs___arm *arm = registers;

	if (bpf_core_field_exists(x86->orig_ax)) {
		switch (BPF_CORE_READ(x86, orig_ax)) {
		case 59:
			return CALL_EXECVE;
		case 322:
			return CALL_EXECVEAT;
		case 42:
			return CALL_CONNECT;
		case 11:
			return CALL_EXECVE | CALL_32BIT;
		case 358:
			return CALL_EXECVEAT | CALL_32BIT;
		case 362:
			return CALL_CONNECT | CALL_32BIT;
		case 102:
			return CALL_SOCKETCALL | CALL_32BIT;
		}
	} else if (bpf_core_field_exists(arm->syscallno)) {
		switch (BPF_CORE_READ(arm, syscallno) + (BPF_CORE_READ(arm, pstate) & PSR_MODE32_BIT ? 0x1000 : 0)) {
		case 221:
		case 0x1000 + 11:
			return CALL_EXECVE;
		case 281:
		case 0x1000 + 387:
			return CALL_EXECVEAT;
		case 203:
		case 0x1000 + 283:
			return CALL_CONNECT;
		}
	}
	return CALL_OTHER;
}

/* Whether the number of the current system call belongs to this table. */
static __always_inline bool has_numbers_of(int call, void *registers)
{
	struct task_struct *task = (struct task_struct *)bpf_get_current_task();
	struct pt_regs___x86 *x86 = registers;

	if (!bpf_core_field_exists(x86->orig_ax))
		return true;
	return !(BPF_CORE_READ(task, thread_info.status) & TS_COMPAT) == !(call & CALL_32BIT);
}

/* The first four arguments are numbered from 0. */
static __always_inline __u64 call_argument(void *registers, int index)
{
	struct pt_regs___x86 *x86 = registers;
	struct pt_regs___arm *arm = registers;

	if (bpf_core_field_exists(x86->orig_ax))
		return index == 0   ? BPF_CORE_READ(x86, di)
		       : index == 1 ? BPF_CORE_READ(x86, si)
		       : index == 2 ? BPF_CORE_READ(x86, dx)
				    : BPF_CORE_READ(x86, r10);
	if (bpf_core_field_exists(arm->syscallno))
		return index == 0   ? BPF_CORE_READ(arm, orig_x0)
		       : index == 1 ? BPF_CORE_READ(arm, regs[1])
		       : index == 2 ? BPF_CORE_READ(arm, regs[2])
				    : BPF_CORE_READ(arm, regs[3]);
	return 0;
}

/* The first three arguments. Returns false if the call is neither exec nor connect. */
static __always_inline bool read_arguments(__u64 *arguments, int call, void *registers)
{
	struct pt_regs___x86 *x86 = registers;
	__u32 words[3];

	/*
	 * Not a loop: for a loop, clang computes the places of all registers first, also of registers that this
	 * processor does not have.
	 */
	if (!(call & CALL_32BIT)) {
		arguments[0] = call_argument(registers, 0);
		arguments[1] = call_argument(registers, 1);
		arguments[2] = call_argument(registers, 2);
		return true;
	}
	if (!bpf_core_field_exists(x86->orig_ax))
		return false;
	words[0] = BPF_CORE_READ(x86, bx);
	words[1] = BPF_CORE_READ(x86, cx);
	words[2] = BPF_CORE_READ(x86, dx);
	if ((call & CALL_KIND) == CALL_SOCKETCALL &&
	    (words[0] != SYS_CONNECT || bpf_probe_read_user(words, sizeof(words), (void *)(__u64)words[1])))
		return false;
	for (int i = 0; i < 3; i++)
		arguments[i] = words[i];
	return true;
}

#define TRANSFER_NONE	 0
#define TRANSFER_BUFFER	 1 /* read(2) */
#define TRANSFER_FLAGS	 2 /* recvfrom(2), with flags as its fourth argument */
#define TRANSFER_VECTOR	 3 /* readv(2) */
#define TRANSFER_MESSAGE 4 /* recvmsg(2), with flags as its third argument */

/* The kind of buffer in the second argument of a system call that reads or writes. */
static __always_inline int transfer_of(void *registers, bool is_read)
{
	struct pt_regs___x86 *x86 = registers;
	struct pt_regs___arm *arm = registers;

	if (bpf_core_field_exists(x86->orig_ax)) {
		if ((BPF_CORE_READ(x86, cs) & 0xffff) != 0x33)
			return TRANSFER_NONE;
		switch (BPF_CORE_READ(x86, orig_ax) + (is_read ? 0x1000 : 0)) {
		case 0x1000 + 0:
		case 1:
			return TRANSFER_BUFFER;
		case 0x1000 + 45:
		case 44:
			return TRANSFER_FLAGS;
		case 0x1000 + 19:
		case 20:
			return TRANSFER_VECTOR;
		case 0x1000 + 47:
		case 46:
			return TRANSFER_MESSAGE;
		}
	} else if (bpf_core_field_exists(arm->syscallno)) {
		if (BPF_CORE_READ(arm, pstate) & 0x10)
			return TRANSFER_NONE;
		switch (BPF_CORE_READ(arm, syscallno) + (is_read ? 0x1000 : 0)) {
		case 0x1000 + 63:
		case 64:
			return TRANSFER_BUFFER;
		case 0x1000 + 207:
		case 206:
			return TRANSFER_FLAGS;
		case 0x1000 + 65:
		case 66:
			return TRANSFER_VECTOR;
		case 0x1000 + 212:
		case 211:
			return TRANSFER_MESSAGE;
		}
	}
	return TRANSFER_NONE;
}

#endif
