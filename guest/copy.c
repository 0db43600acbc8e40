/* SPDX-License-Identifier: Apache-2.0 */
#include "copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

#include "base/error.h"
#include "base/file.h"
#include "copy/pack.h"
#include "copy/unpack.h"
#include "net/agent.h"
#include "room.h"

#define CHUNK	   65536u
#define STATUS_MAX 125

int copy_report(int r, const struct mvm_error *err)
{
	if (r >= 0)
		return 0;
	dprintf(STDERR_FILENO, "%s", err->text); /* may fail: the host gets the exit status, too */
	return -r <= STATUS_MAX ? -r : EIO;
}

static int no_room(const struct request *q, const struct room *room, struct mvm_error *err)
{
	char takes[32], left[32];
	str_bytes(q->size, takes, sizeof(takes));
	str_bytes(room->bytes, left, sizeof(left));
	return mvm_error_set(err, -ENOSPC, "'%s' would take %s, and there is room for %s%s",
			     q->path, takes, left, room->in_memory ? " in its memory" : "");
}

static int put(const struct request *q, const struct unpack_owner *owner, struct mvm_error *err)
{
	static char chunk[CHUNK];
	const struct unpack_options options = {
		.dir_fd = AT_FDCWD,
		.path = q->path,
		.flags = (q->contents ? (unsigned)UNPACK_CONTENTS : 0) |
			 (q->owner ? (unsigned)UNPACK_OWNED : 0) |
			 /* root can write to every folder without this */
			 (q->owner == OWNER_FOLDERS && owner->uid != 0
				  ? (unsigned)UNPACK_OWN_FOLDERS
				  : 0),
		.owner = *owner,
	};
	AUTO(unpack) u = NULL;
	struct room_input in = { .path = q->path };
	struct room room;

	room_look(q->path, &room);
	if (q->size > room.bytes)
		return no_room(q, &room, err);
	int r = unpack_open(&options, &u, err);
	while (r == 0) {
		ssize_t n = room_read(&in, chunk, sizeof(chunk), err);
		if (n < 0)
			return (int)n;
		if (n == 0)
			return unpack_finish(u, err);
		r = unpack_write(u, chunk, (size_t)n, err);
	}
	return r;
}

int copy_put(const struct request *q, const struct unpack_owner *owner)
{
	struct mvm_error err = { 0 };
	return copy_report(q->path ? put(q, owner, &err) : mvm_error_set(&err, -EINVAL, "no PATH"),
			   &err);
}

int copy_send(struct pack *p, struct mvm_error *err)
{
	static char chunk[CHUNK];
	AUTO_DONE(strbuf) note = { 0 };
	int r = 0;

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
	if (r == 0)
		pack_note(p, &note);
	if (note.len)
		dprintf(STDERR_FILENO, "%s", note.data); /* may fail: the copy is complete */
	return r;
}

static int get(const struct request *q, struct mvm_error *err)
{
	AUTO(pack) p = NULL;

	unsigned flags = PACK_GO_ON | (q->follow ? PACK_FOLLOW : 0u) | (q->holes ? PACK_HOLES : 0u);
	int r = pack_open(AT_FDCWD, q->path, q->name, flags, &p, err);
	return r < 0 ? r : copy_send(p, err);
}

int copy_get(const struct request *q)
{
	struct mvm_error err = { 0 };
	return copy_report(q->path && q->name ? get(q, &err)
					      : mvm_error_set(&err, -EINVAL, "no PATH or no NAME"),
			   &err);
}
