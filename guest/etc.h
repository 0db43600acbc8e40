/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GUEST_ETC_H
#define GUEST_ETC_H

/* Files of the guest's /etc that the host decides. */

#include <sys/types.h>

/* Replace /etc/<name>, also where the image has a link.  A guest whose /etc cannot be written is
 * none the worse; the console says so. */
void etc_write(const char *name, const char *text, mode_t mode);

/* What /etc/hosts becomes: old (NULL: a new file) with one marked line for hostname, which
 * replaces an earlier marked one.  The caller frees it; NULL when out of memory. */
char *etc_hosts(const char *old, const char *hostname);

/* Write /etc/hostname and /etc/hosts. */
void etc_set_hostname(const char *hostname);

#endif
