/* SPDX-License-Identifier: Apache-2.0 */
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "copy/pack.h"
#include "copy/unpack.h"

#define CHUNK	   65536u
#define STATUS_MAX 125

static int report(int r, const struct mvm_error *err)
{
	if (r >= 0)
		return 0;
	(void)dprintf(STDERR_FILENO, "%s", err->text); /* the status tells too */
	return -r <= STATUS_MAX ? -r : EIO;
}

static int put(const struct request *q, struct mvm_error *err)
{
	static char chunk[CHUNK];
	const struct unpack_options options = {
		.dir_fd = AT_FDCWD,
		.path = q->path,
		.flags = q->contents ? UNPACK_CONTENTS : 0,
	};
	AUTO(unpack) u = NULL;

	int r = unpack_open(&options, &u, err);
	while (r == 0) {
		ssize_t n = read(STDIN_FILENO, chunk, sizeof(chunk));
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return mvm_error_set(err, -errno, "cannot read the stream");
		if (n == 0)
			return unpack_finish(u, err);
		r = unpack_write(u, chunk, (size_t)n, err);
	}
	return r;
}

int copy_put(const struct request *q)
{
	struct mvm_error err = { 0 };
	return report(q->path ? put(q, &err) : mvm_error_set(&err, -EINVAL, "no PATH"), &err);
}

static int get(const struct request *q, struct mvm_error *err)
{
	static char chunk[CHUNK];
	AUTO(pack) p = NULL;
	const char *first;

	int r = pack_open(AT_FDCWD, q->path, q->name, q->follow ? PACK_FOLLOW : 0, &p, err);
	while (r == 0) {
		ssize_t n = pack_read(p, chunk, sizeof(chunk), err);
		if (n <= 0) {
			r = (int)n;
			break;
		}
		r = file_write_all(STDOUT_FILENO, chunk, (size_t)n);
		if (r < 0)
			return mvm_error_set(err, r, "cannot write the stream");
	}
	uint64_t left_out = r == 0 ? pack_left_out(p, &first) : 0;
	if (left_out > 0)
		(void)dprintf(STDERR_FILENO,
			      "left out %" PRIu64 " devices, pipes or sockets: '%s'%s", left_out,
			      first ? first : "", left_out > 1 ? " and others" : "");
	return r;
}

int copy_get(const struct request *q)
{
	struct mvm_error err = { 0 };
	return report(q->path && q->name ? get(q, &err)
					 : mvm_error_set(&err, -EINVAL, "no PATH or no NAME"),
		      &err);
}
