/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SIGNALS_H
#define BASE_SIGNALS_H

#define SIGNAL_MAX 64u /* Linux's last one */

/*
 * The number of a signal as people write it: "SIGQUIT", "quit", "3", "+3", "SIGRTMIN+3", "RTMAX-1".
 * Returns 1 to SIGNAL_MAX, or 0: there is no such signal.
 * Source: moby/sys, signal/signal.go (ParseSignal) and signal_linux.go: what an image's StopSignal
 * may be.
 */
unsigned signal_parse(const char *s);

#endif
