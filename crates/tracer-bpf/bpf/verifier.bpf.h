/* SPDX-License-Identifier: (MIT OR Apache-2.0) AND GPL-2.0-only */
/*
 * What is written for the verifier, which takes most of the time that loading takes.
 *
 * It follows both ways of every branch until they come together, and remembers all that is on the stack at each, but
 * looks at a global function once, not once for every call and turn. So what is called or repeated is a global function
 * (not static), and branches are few, above all where there is much on the stack. Loops keep what changes from turn to
 * turn in map memory and read it back from there: the verifier does not follow values through that, so each turn looks
 * alike. And they are two, rounds of a few turns, of which it looks at the inner ones once.
 */
#ifndef TRACER_VERIFIER_BPF_H
#define TRACER_VERIFIER_BPF_H

#define READ_ONCE(field)	 (*(volatile typeof(field) *)&(field))
#define WRITE_ONCE(field, value) (READ_ONCE(field) = (value))

/* Of an inner loop. */
#define TURNS 4

#endif
