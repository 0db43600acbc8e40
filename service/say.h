/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_SAY_H
#define SERVICE_SAY_H

/*
 * mvmd's own log, on standard error: one line of key=value pairs for each event, which the journal
 * takes with its level:
 *
 *	level=info event=listen address="127.0.0.1:8443" tls=true
 *
 * Values are quoted unless they are plain words; what a terminal would obey is escaped.  Each line
 * is one write(2), so threads need no lock.
 */

enum say_level {
	SAY_ERR = 3, /* syslog(3)'s numbers */
	SAY_WARNING = 4,
	SAY_INFO = 6,
};

/* key, value, ..., (char *)NULL.  A pair whose value is NULL is left out. */
void say(enum say_level level, const char *event, ...) __attribute__((sentinel));

#endif
