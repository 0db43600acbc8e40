/* SPDX-License-Identifier: Apache-2.0 */
#include "code.h"

#include <errno.h>
#include <stddef.h>

#include "base/error.h"
#include "codec/json.h"

struct code {
	int number; /* errno */
	unsigned status;
	const char *word;
};

static const struct code codes[] = {
	{ EINVAL, 400, "invalid" },
	{ ENAMETOOLONG, 400, "invalid" },
	{ ELOOP, 400, "invalid" },	   /* a path of links in a circle, or of too many folders */
	{ EADDRNOTAVAIL, 400, "invalid" }, /* no address of this host */
	{ EKEYREJECTED, 401, "unauthorized" },
	{ EACCES, 403, "forbidden" },
	{ EPERM, 403, "forbidden" },
	{ ENOENT, 404, "not_found" },
	{ ENOSYS, 405, "method_not_allowed" },
	{ EEXIST, 409, "exists" },
	{ EISDIR, 409, "is_folder" },
	{ ENOTDIR, 409, "not_folder" },
	{ EROFS, 409, "read_only" },
	{ EXDEV, 409, "other_file_system" },
	{ EBUSY, 409, "busy" },
	{ ETXTBSY, 409, "busy" },
	{ EALREADY, 409, "busy" },
	{ ESRCH, 409, "not_running" },
	{ EPIPE, 409, "not_running" }, /* a command whose end or whose input's end was told */
	{ EADDRINUSE, 409, "address_in_use" },
	{ ECANCELED, 409, "cancelled" },
	{ ESTALE, 409, "stale" },
	{ ENOTEMPTY, 409, "not_empty" },
	{ EFBIG, 413, "too_large" },
	{ E2BIG, 413, "too_large" },
	{ EMEDIUMTYPE, 415, "unsupported_media_type" },
	{ ERANGE, 416, "out_of_range" },
	{ EOPNOTSUPP, 422, "not_supported" },
	{ EAFNOSUPPORT, 422, "not_supported" }, /* a host without IPv6 */
	{ ENXIO, 422, "not_supported" },	/* a device or fifo that nothing serves */
	{ ENODEV, 422, "not_supported" },
	{ EDQUOT, 429, "limit_reached" },
	{ EBADMSG, 500, "damaged" },
	{ EPROTO, 502, "peer_failed" },
	{ ECONNREFUSED, 502, "port_closed" },
	{ ECONNRESET, 502, "peer_failed" },
	{ EHOSTUNREACH, 502, "peer_failed" },
	{ EHOSTDOWN, 502, "peer_failed" },
	{ ENETUNREACH, 502, "peer_failed" },
	{ ENETDOWN, 502, "peer_failed" },
	{ EREMOTEIO, 502, "peer_refused" },
	{ EAGAIN, 503, "overloaded" },
	{ ENOMEM, 503, "overloaded" },
	{ EMFILE, 503, "overloaded" },
	{ ENFILE, 503, "overloaded" },
	{ ENOBUFS, 503, "overloaded" },
	{ ETIMEDOUT, 504, "timeout" },
	{ ENOSPC, 507, "no_space" },
};

static const struct code *find(const struct mvm_error *err)
{
	static const struct code other = { 0, 500, "internal" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(codes); i++) {
		if (codes[i].number == -err->code)
			return &codes[i];
	}
	return &other;
}

unsigned code_status(const struct mvm_error *err)
{
	return find(err)->status;
}

const char *code_word(const struct mvm_error *err)
{
	return find(err)->word;
}

json_t *code_json(const struct mvm_error *err)
{
	struct json_out out = { 0 };
	json_t *o = json_new(&out);
	json_put_string(&out, o, "code", code_word(err));
	json_put_text(&out, o, "message", err->text);
	if (err->hint[0])
		json_put_text(&out, o, "hint", err->hint);
	if (err->reason[0])
		json_put_string(&out, o, "reason", err->reason);
	if (err->subject[0])
		json_put_text(&out, o, "subject", err->subject);
	return o;
}
