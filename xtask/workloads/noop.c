// SPDX-License-Identifier: MIT OR Apache-2.0
/* This is linked statically. The process itself costs almost nothing, so the cost of tracing is most visible. */
int main(void)
{
	return 0;
}
