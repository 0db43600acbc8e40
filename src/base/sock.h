/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_SOCK_H
#define BASE_SOCK_H

/* Unix sockets: pairs, listeners and connections named relative to an open folder (so that the
 * 107 bytes of sun_path never matter), passing descriptors, and the peer's uid. */

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

/* A connected, close-on-exec stream pair. */
int sock_pair(int ret[2]);

/* Bind and listen at name (which must not exist) in dir_fd, mode 0600; non-blocking. */
int sock_listen_at(int dir_fd, const char *name);

/* Connect to the listener at name in dir_fd.  -ECONNREFUSED when nobody listens any more. */
int sock_connect_at(int dir_fd, const char *name);

/* sock_connect_at() without waiting: -EAGAIN when the listener's queue is full.  The connection is
 * non-blocking. */
int sock_try_connect_at(int dir_fd, const char *name);

/* Accept one connection, non-blocking; -EAGAIN when there is none. */
int sock_accept(int listen_fd);

/* The uid of the process at the other end (SO_PEERCRED). */
int sock_peer_uid(int fd, uid_t *ret);

/* Was that process in the group when it connected?  (gid_t)-1 has no members. */
bool sock_peer_is_member(int fd, gid_t group);

#define SOCK_FDS_MAX 16u

/* Send len (> 0) bytes together with n descriptors, SOCK_FDS_MAX at most, which the caller
 * keeps. */
int sock_send_fds(int sock, const void *data, size_t len, const int *fds, size_t n);

/* Receive up to len bytes and, with them, up to max descriptors, SOCK_FDS_MAX at most, which are
 * close-on-exec and the caller's.  flags: recv(2)'s.  Returns the number of bytes, 0 at the end, or
 * -errno. */
ssize_t sock_receive_fds(int sock, void *data, size_t len, int flags, int *ret_fds, size_t max,
			 size_t *ret_n);

/* Send len (> 0) bytes together with one descriptor, which the caller keeps. */
int sock_send_fd(int sock, const void *data, size_t len, int fd);

/* Receive one byte and its descriptor, which is close-on-exec and the caller's to close.  Does not
 * wait: -EAGAIN when nothing came, -EPIPE at the end, -EPROTO when the byte has no descriptor. */
int sock_receive_fd(int sock);

#endif
