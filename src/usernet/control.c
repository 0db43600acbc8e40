/* SPDX-License-Identifier: Apache-2.0 */
/* What mvm asks of mvm-net while it runs, and what mvm-net tells: config.h has the messages. */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/own.h"
#include "usernet/usernet_priv.h"

/*
 * libslirp makes UDP ports reusable.  On Linux any user could then bind a forwarded port as well,
 * and get its datagrams.  So libslirp gets this function in place of the C library's.
 */
__attribute__((visibility("default"))) int setsockopt(int fd, int level, int name,
						      const void *value, socklen_t len)
{
	int type = 0;
	socklen_t type_len = sizeof(type);
	if (level == SOL_SOCKET && (name == SO_REUSEADDR || name == SO_REUSEPORT) &&
	    getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_len) == 0 && type == SOCK_DGRAM)
		return 0;
	return (int)syscall(SYS_setsockopt, fd, level, name, value, len);
}

static int forward_udp(struct usernet *u, const struct sockaddr_in *host,
		       const struct usernet_forward *f, struct mvm_error *err)
{
	int r = udp_forwards_add(&u->udp_forwards, host, f->guest_port);
	return r == 0 ? 0
		      : mvm_error_set(err, r, "cannot forward port %u of %s: %s", f->port,
				      f->address, strerror(-r));
}

int control_forward(struct usernet *u, const struct usernet_forward *f, struct mvm_error *err)
{
	struct sockaddr_in host = { .sin_family = AF_INET, .sin_port = htons(f->port) };
	struct sockaddr_in guest = { .sin_family = AF_INET,
				     .sin_port = htons(f->guest_port),
				     .sin_addr = v4_of(GUEST_V4) };
	if (inet_pton(AF_INET, f->address, &host.sin_addr) != 1)
		return mvm_error_set(err, -EINVAL, "'%s' is no IPv4 address", f->address);
	if (f->udp)
		return forward_udp(u, &host, f, err);
	int r = gate_forward(&u->gate, f->guest_port);
	if (r < 0)
		return mvm_error_set(err, r, "a VM has at most %u forwarded ports",
				     GATE_FORWARDS_MAX);
	u->is_forwarding = true;
	r = slirp_add_hostxfwd(u->slirp, (const struct sockaddr *)&host, sizeof(host),
			       (const struct sockaddr *)&guest, sizeof(guest), 0);
	u->is_forwarding = false;
	if (r == 0) {
		sockets_find_listeners(&u->sockets);
		return 0;
	}
	u->gate.n_forwards--;
	r = -errno;
	return mvm_error_set(err, r, "cannot forward port %u of %s: %s", f->port, f->address,
			     strerror(-r));
}

/* ---- requests ---- */

int control_reply(struct usernet *u, int r, const struct mvm_error *err)
{
	AUTO_JSON json_t *said = r < 0 ? json_pack("{s:s, s:i}", "error", err->text, "code", r)
				       : json_pack("{s:b, s:I, s:I, s:I}", "ready", 1, "refused",
						   (json_int_t)u->gate.refused, "dropped",
						   (json_int_t)u->gate.dropped, "lost",
						   (json_int_t)u->link.lost);
	AUTO_FREE char *text = said ? json_dumps(said, JSON_COMPACT) : NULL;
	if (!text)
		return -ENOMEM;
	return send(u->control_fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT) < 0 ? -errno
											: 0;
}

void control_report(struct usernet *u)
{
	AUTO_JSON json_t *said = refusals_take(&u->refusals, clock_now_ns());
	AUTO_FREE char *text = said ? json_dumps(said, JSON_COMPACT) : NULL;
	if (text)
		send(u->control_fd, text, strlen(text), MSG_NOSIGNAL | MSG_DONTWAIT);
}

int control_take_servers(struct usernet *u, const char (*dns)[RESOLVER_ADDRESS_SIZE], size_t n,
			 struct mvm_error *err)
{
	resolver_forget(&u->questions.resolver);
	for (size_t i = 0; i < n; i++)
		if (resolver_add(&u->questions.resolver, dns[i]) < 0)
			return mvm_error_set(err, -EINVAL, "'%s' is no resolver's address", dns[i]);
	return 0;
}

int control_take(struct usernet *u)
{
	static char text[USERNET_MESSAGE_MAX];
	static struct usernet_request request;
	struct mvm_error err;
	ssize_t n = recv(u->control_fd, text, sizeof(text), MSG_DONTWAIT);
	if (n == 0 || (n < 0 && errno == ECONNRESET)) /* it had not read all */
		return -EPIPE;
	if (n < 0)
		return errno == EAGAIN || errno == EINTR ? 0 : -errno;
	int r = usernet_request_read(text, (size_t)n, &request, &err);
	if (r == 0 && request.has_policy) {
		gate_set_policy(&u->gate, &request.policy);
		u->is_held = false;
	}
	const struct usernet_request *asked = &request;
	if (r == 0 && asked->n_dns > 0)
		r = control_take_servers(u, asked->dns, asked->n_dns, &err);
	if (r == 0 && request.has_forward)
		r = control_forward(u, &request.forward, &err);
	return control_reply(u, r, &err);
}
