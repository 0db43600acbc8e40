/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SUPERVISOR_CONSOLE_H
#define SUPERVISOR_CONSOLE_H

/* A guest's console: writes its output to console.log in the instance's folder, and notices a
 * kernel panic. */

#include "base/loop.h"
#include "instance/logfile.h"
#include "supervisor/panic.h"

struct console {
	int fd;			    /* our end */
	struct loop_source *source; /* NULL once the VMM has hung up */
	struct logfile log;
	struct panic_watch panic;
	int64_t heard_ns; /* when the last output came; 0: none has */
};

/* Take over fd (connected socket).  c->log is ready. */
int console_init(struct console *c, struct loop *loop, int fd);

/* The last lines as printable text, the newest output included. */
const char *console_tail(struct console *c);

void console_done(struct console *c);

#endif
