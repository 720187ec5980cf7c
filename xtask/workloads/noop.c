// SPDX-License-Identifier: MIT OR Apache-2.0
/* Linked statically: a process that costs next to nothing, so that what tracing adds shows most. */
int main(void)
{
	return 0;
}
