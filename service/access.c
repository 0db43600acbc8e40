/* SPDX-License-Identifier: Apache-2.0 */
#include "access.h"

#include <arpa/inet.h>
#include <errno.h>
#include <microhttpd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/sock.h"
#include "console/console.h"
#include "guard.h"
#include "request.h"
#include "server.h"
#include "site.h"

static int check_peer(struct request *rq, struct mvm_error *err)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		rq->connection, MHD_CONNECTION_INFO_CONNECTION_FD);
	if (!info || sock_peer_uid(info->connect_fd, &rq->peer_uid) < 0)
		return mvm_error_set(err, -EACCES, "cannot tell who asks");
	if (rq->peer_uid != 0 && rq->peer_uid != geteuid() &&
	    !sock_peer_is_member(info->connect_fd, rq->server->guard->group))
		return mvm_error_set(err, -EACCES, "this service belongs to another user");
	rq->client = (struct client){ .scope = MVM_TOKEN_ADMIN };
	rq->known = true;
	return 0;
}

static int check_site(const struct request *rq, struct mvm_error *err)
{
	const char *host = request_header(rq, "Host"), *origin = request_header(rq, "Origin");

	if (!host || (!rq->listener->tls && !site_host_is_ours(host, &rq->server->guard->hosts))) {
		int r = mvm_error_set(err, -EACCES, "the Host header does not name this host");
		return mvm_error_hint(err, r, "mvmd --host NAME");
	}
	/* ports of a sandbox have no other guard, and a page of one may use the others */
	const bool sibling = origin && rq->route->for_guest && site_origin_is_port_of(origin, host);
	if (origin && !sibling && !site_origin_is_host(origin, host))
		return mvm_error_set(err, -EACCES, "the request comes from another site");
	return 0;
}

static int find_client(struct request *rq, const char *secret, struct mvm_error *err)
{
	const struct mvm_token_info *token = NULL;
	int r = mvm_tokens_find(rq->server->guard->tokens, secret, strlen(secret), &token, err);
	if (r == -EACCES)
		err->code = -EKEYREJECTED;
	if (r < 0)
		return err->code;
	rq->client = (struct client){ .scope = token->scope };
	snprintf(rq->client.token, sizeof(rq->client.token), "%s", token->name);
	if (token->scope != MVM_TOKEN_ADMIN) {
		rq->client.max_instances = token->max_instances;
		rq->client.max_vcpus = token->max_vcpus;
		rq->client.max_mem_mib = token->max_mem_mib;
		rq->client.max_rate = token->max_rate;
	}
	rq->known = true;
	return 0;
}

/* What a guest gets may have a token of mvmd, in either header. */
static int check_guest_token(struct request *rq, struct mvm_error *err)
{
	const char *const secrets[] = { site_bearer(request_header(rq, "Authorization")),
					request_header(rq, "X-API-KEY") };
	struct mvm_error ignored = { 0 };
	unsigned wait_s = 1;

	for (size_t i = 0; i < MVM_ARRAY_SIZE(secrets); i++) {
		int r = secrets[i] ? find_client(rq, secrets[i], &ignored) : -EKEYREJECTED;
		if (r < 0 && r != -EKEYREJECTED) { /* it may be ours: no guest gets it */
			*err = ignored;
			return r;
		}
		if (r == 0)
			return limits_take_request(rq->server->guard->limits, &rq->client,
						   clock_now_ns(), &wait_s, err);
	}
	return 0;
}

static int check_token(struct request *rq, struct mvm_error *err)
{
	const char *secret = site_bearer(request_header(rq, "Authorization"));
	unsigned wait_s = 1;

	if (rq->route->for_guest)
		return check_guest_token(rq, err);
	if (!secret)
		secret = request_header(rq, "X-API-KEY");
	const char *session = secret ? NULL : console_token(rq);
	if (session)
		secret = session;
	if (!secret && rq->route->scope == SCOPE_NONE)
		return 0;
	if (!secret) {
		mvm_error_set(err, -EKEYREJECTED, "this needs a token");
		return mvm_error_hint(err, -EKEYREJECTED, "mvm token add NAME");
	}
	int r = find_client(rq, secret, err);
	if (r == -EKEYREJECTED && session && rq->route->scope == SCOPE_NONE)
		return 0; /* the token has ended, and with it the session */
	if (r < 0)
		return r;
	return limits_take_request(rq->server->guard->limits, &rq->client, clock_now_ns(), &wait_s,
				   err);
}

/* what: that the request asks for, as a message begins with it. */
static int need_scope(const struct request *rq, const char *what, enum mvm_token_scope scope,
		      struct mvm_error *err)
{
	if (rq->client.scope >= scope)
		return 0;
	return mvm_error_set(err, -EACCES, "%s needs a token of scope '%s'; '%s' has '%s'", what,
			     mvm_token_scope_name(scope), rq->client.token,
			     mvm_token_scope_name(rq->client.scope));
}

static int check_scope(const struct request *rq, struct mvm_error *err)
{
	static const enum mvm_token_scope needed[] = { [SCOPE_NONE] = MVM_TOKEN_READ,
						       [SCOPE_READ] = MVM_TOKEN_READ,
						       [SCOPE_EXEC] = MVM_TOKEN_EXEC,
						       [SCOPE_ADMIN] = MVM_TOKEN_ADMIN };
	if (rq->route->scope == SCOPE_NONE)
		return 0;
	return need_scope(rq, "this", needed[rq->route->scope], err);
}

int access_check_admin(const struct request *rq, const char *what, struct mvm_error *err)
{
	return need_scope(rq, what, MVM_TOKEN_ADMIN, err);
}

/* The client's address, for the audit log. */
static void note_address(struct request *rq)
{
	const union MHD_ConnectionInfo *info = MHD_get_connection_info(
		rq->connection, MHD_CONNECTION_INFO_CLIENT_ADDRESS);
	const struct sockaddr *a = info ? info->client_addr : NULL;
	struct sockaddr_in v4;
	struct sockaddr_in6 v6;

	if (a && a->sa_family == AF_INET) {
		memcpy(&v4, a, sizeof(v4));
		inet_ntop(AF_INET, &v4.sin_addr, rq->from, sizeof(rq->from));
	} else if (a && a->sa_family == AF_INET6) {
		memcpy(&v6, a, sizeof(v6));
		inet_ntop(AF_INET6, &v6.sin6_addr, rq->from, sizeof(rq->from));
	}
}

int access_check(struct request *rq, struct mvm_error *err)
{
	if (rq->listener->path) {
		/* a browser comes here through a forwarded port */
		int r = request_header(rq, "Origin") ? check_site(rq, err) : 0;
		return r < 0 ? r : check_peer(rq, err);
	}
	note_address(rq);
	rq->owner = rq->client.token;
	int r = check_site(rq, err);
	if (r == 0)
		r = check_token(rq, err);
	return r < 0 ? r : check_scope(rq, err);
}
