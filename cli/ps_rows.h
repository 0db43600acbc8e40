/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_PS_ROWS_H
#define CLI_PS_ROWS_H

/* An instance in `ps`: its columns, and the user's --format. */

#include <mvm/instance.h>

#include "base/str.h"
#include "command.h"

#define PS_COLUMNS 15
#define PS_STATUS  10 /* the state for people */
#define PS_ALLOWED 11 /* the rules that open the network; "" for none */
#define PS_DISK	   13
#define PS_ENDS	   14 /* what ends or suspends it; "" for nothing */

/* The columns' names as --format spells them: Name, Template, Revision ... */
extern const char *const ps_columns[PS_COLUMNS];

/* The instance's cells, in that order; b is filled with PS_COLUMNS strings. */
void ps_cells(const struct mvm_instance_info *info, struct strv *b);

/* The host's side of a forwarded port as an address is written: "127.0.0.1:80", "[::1]:80". */
void ps_host(const struct mvm_forward *f, struct strbuf *b);

/*
 * Add a line as `format` says: "{{.Name}}\t{{.Label \"tier\"}}", where \t and \n are a tab and a
 * newline.
 *
 *   info  NULL: only look for mistakes
 *
 * Returns 0, or -EINVAL (wrong usage) for an unknown placeholder.
 */
int ps_format(struct cli_context *c, const char *format, const struct mvm_instance_info *info,
	      struct strbuf *b);

#endif
