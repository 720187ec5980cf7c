/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * Code that is written for the verifier, because the verifier takes most of the loading time.
 *
 * The verifier follows both ways of every branch until they meet. It remembers the stack at each branch. But it
 * verifies a global function once, not once for each call. So code that is called often or repeated is a global
 * function (not static). There are few branches, especially where the stack is full. A loop keeps its variables in map
 * memory and reads them from there. The verifier does not follow values through map memory, so each turn looks the same
 * to it. A loop is split into two or three nested loops. Each inner loop is a global function of a few turns.
 */
#ifndef TRACER_VERIFIER_BPF_H
#define TRACER_VERIFIER_BPF_H

#define READ_ONCE(field)	 (*(volatile typeof(field) *)&(field))
#define WRITE_ONCE(field, value) (READ_ONCE(field) = (value))

/* Turns of an inner loop. */
#define TURNS 4

#endif
