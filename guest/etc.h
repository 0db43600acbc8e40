/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_ETC_H
#define GUEST_ETC_H

/* Files of the guest's /etc that the host decides. */

#include <stdbool.h>
#include <sys/types.h>

#include "base/str.h"

/* Replace /etc/<name>, also where the image has a link.  A guest whose /etc cannot be written runs
 * on, with a line on the console. */
void etc_write(const char *name, const char *text, mode_t mode);

/* Add old's lines (NULL: those of a new /etc/hosts) but the marked one that names this machine. */
void etc_hosts_common(const char *old, struct strbuf *ret);

/* Does the text begin with the lines that etc_hosts_common() adds?  Not if somebody has added lines
 * behind the marked one. */
bool etc_hosts_in_order(const char *text);

/* Add the marked line that names this machine.  It has the same length for every name. */
void etc_hosts_add(struct strbuf *hosts, const char *hostname);

/* Write /etc/hostname and /etc/hosts. */
void etc_set_hostname(const char *hostname);

#endif
