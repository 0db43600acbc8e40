/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_OUT_H
#define CLI_OUT_H

/* How commands print: tables for people, and all errors. */

#include <stdio.h>

#include "base/str.h"
#include "command.h"

/*
 * An aligned table.
 *
 *	AUTO_DONE(table) t = { .columns = 2 };
 *	table_row(&t, "NAME", "MEMORY");
 *	table_row(&t, name, memory);
 *	return table_print(&t, stdout);
 *
 * Columns of amounts ("3", "62.6 MiB", or "-") are aligned to the right.
 */
#define TABLE_COLUMNS_MAX 12

struct table {
	size_t columns;
	struct strv cells;
	bool begun; /* rows were printed: alignment stays, and columns only get wider */
	struct {
		size_t width;
		bool right;
	} column[TABLE_COLUMNS_MAX];
};

/* Add t->columns cells, all const char *; NULL is an empty cell. */
void table_row(struct table *t, ...);

/* Print the rows and forget them; a long table is printed in pieces.  Returns 0 or -ENOMEM. */
int table_print(struct table *t, FILE *out);

static inline void table_done(struct table *t)
{
	strv_done(&t->cells);
}
DEFINE_AUTO_DONE(table, table_done)

/* Write out what was printed to standard output.  Returns 0, or a negative errno with c->err
 * filled: a result that has not reached its reader is a failure. */
int flush_results(struct cli_context *c);

/*
 * Show c->err on standard error: "mvm: <text>" and "hint: <hint>", or with --json one line
 * {"error":{"code":"ENOENT","message":...,"hint":...,"exit_status":3}}.
 *
 *   command  whose help a usage error points to; NULL: the general help
 *
 * Returns the exit status for this failure.
 */
int show_error(const struct cli_context *c, const char *command);

#endif
