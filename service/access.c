/* SPDX-License-Identifier: Apache-2.0 */
#include "access.h"

#include <errno.h>
#include <microhttpd.h>
#include <string.h>
#include <unistd.h>

#include "base/error.h"
#include "base/sock.h"
#include "request.h"
#include "server.h"

static int check_peer(struct request *rq, struct mvm_error *err)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		rq->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (!info || sock_peer_uid(info->connect_fd, &rq->peer_uid) < 0)
		return mvm_error_set(err, -EACCES, "cannot tell who asks");
	if (rq->peer_uid != 0 && rq->peer_uid != geteuid())
		return mvm_error_set(err, -EACCES, "this service belongs to another user");
	return 0;
}

/* "localhost" and numeric addresses, with a port or without: no name that somebody else may own. */
static bool host_is_ours(const char *host)
{
	static const char *const ours[] = { "localhost", "127.0.0.1", "[::1]" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(ours); i++) {
		size_t len = strlen(ours[i]);
		if (strncmp(host, ours[i], len) == 0 && (!host[len] || host[len] == ':'))
			return true;
	}
	return false;
}

int access_check(struct request *rq, struct mvm_error *err)
{
	if (rq->listener->path)
		return check_peer(rq, err);
	const char *host = request_header(rq, "Host");
	if (!host || !host_is_ours(host))
		return mvm_error_set(err, -EACCES, "the Host header does not name this host");
	return 0;
}
