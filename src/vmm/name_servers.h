/* SPDX-License-Identifier: Apache-2.0 */
#ifndef VMM_NAME_SERVERS_H
#define VMM_NAME_SERVERS_H

/*
 * The host's name servers, as its C library reads them from /etc/resolv.conf.
 *
 * mvm passes over a line without an address, so that such a line never stops a VM.  Without any
 * server the C library asks 127.0.0.1, and so does mvm.
 *
 * Source: resolv.conf(5); glibc, resolv/res_init.c.
 */

#include "base/str.h"

#define NAME_SERVERS_MAX 3u /* resolv.conf(5), MAXNS */

/*
 * Read the name servers of a resolv.conf(5).
 *
 *   ret      numeric addresses that inet_pton(3) takes; a link-local one as fe80::1%3, with the
 *            number of its interface
 *   ret_odd  words in the place of an address that are none, or name an interface that is missing;
 *            may be NULL
 */
void name_servers_read(const char *resolv_conf, struct strv *ret, struct strv *ret_odd);

/* Read the host's servers of this moment; ret has at least one. */
void name_servers_of_host(struct strv *ret);

/* Why guests cannot ask all servers of this resolv.conf(5); NULL: they can.  The caller frees
 * it. */
char *name_servers_problem(const char *resolv_conf);

/* Does this resolv.conf(5) name no server that guests can ask? */
bool name_servers_none(const char *resolv_conf);

/* The text of the host's file; "" when it cannot be read.  The caller frees it; NULL: out of
 * memory. */
char *name_servers_text(void);

#endif
