/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SOCK_H
#define BASE_SOCK_H

/* Unix sockets: pairs, listeners and connections named relative to an open folder (so that the
 * 107 bytes of sun_path never matter), descriptors passed along, and who is at the other end. */

#include <stddef.h>
#include <sys/types.h>

/* A connected, close-on-exec stream pair. */
int sock_pair(int ret[2]);

/* Bind and listen at name (which must not exist) in dir_fd, mode 0600; non-blocking. */
int sock_listen_at(int dir_fd, const char *name);

/* Connect to the listener at name in dir_fd.  -ECONNREFUSED when nobody listens any more. */
int sock_connect_at(int dir_fd, const char *name);

/* Without waiting for a listener that has too many callers waiting already: -EAGAIN then.  The
 * connection is non-blocking. */
int sock_try_connect_at(int dir_fd, const char *name);

/* Accept one connection, non-blocking; -EAGAIN when there is none. */
int sock_accept(int listen_fd);

/* The uid of the process at the other end (SO_PEERCRED). */
int sock_peer_uid(int fd, uid_t *ret);

/* Send len (> 0) bytes together with one descriptor, which stays the caller's. */
int sock_send_fd(int sock, const void *data, size_t len, int fd);

/* The descriptor that has come with one byte; it is the caller's, and close-on-exec.  Does not
 * wait: -EAGAIN when nothing has come, -EPIPE at the end, -EPROTO when a byte came without one. */
int sock_receive_fd(int sock);

#endif
