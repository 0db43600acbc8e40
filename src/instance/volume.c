/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "copy/unpack.h"
#include "instance/copy.h"

/* Nobody watches these: a guest that says nothing for so long has failed. */
#define VOLUME_IDLE_MS 30000

static const struct mvm_copy_options volume_options = {
	.stream_fd = -1,
	.timeout_ms = -1,
	.idle_ms = VOLUME_IDLE_MS,
	.cancel_fd = -1,
};

/* Where a volume lies on this host. */
struct place {
	int dir_fd; /* the folder that it is in */
	bool is_file;
	char name[NAME_MAX + 1];
};

static void place_done(struct place *p)
{
	if (p->dir_fd >= 0)
		(void)close(p->dir_fd); /* a folder */
}
DEFINE_AUTO_DONE(place, place_done)

/* The path had no links when the volume was named.  One that is there now may be a guest's, which
 * has written to a folder around it: it is not followed.  A missing one is a folder to be made. */
static int find_place(const struct record_volume *v, struct place *ret, struct mvm_error *err)
{
	const char *slash = strrchr(v->host, '/');
	AUTO_FREE char *folder = strndup(v->host, slash == v->host ? 1 : (size_t)(slash - v->host));
	struct stat st = { .st_mode = S_IFDIR };

	if (!folder)
		return mvm_error_oom(err);
	(void)snprintf(ret->name, sizeof(ret->name), "%s", slash[1] ? slash + 1 : ".");
	ret->dir_fd = dir_open_without_links(folder);
	int r = ret->dir_fd < 0 ? ret->dir_fd : 0;
	if (r == 0 && fstatat(ret->dir_fd, ret->name, &st, AT_SYMLINK_NOFOLLOW) < 0 &&
	    errno != ENOENT)
		r = -errno;
	if (r == -ELOOP || S_ISLNK(st.st_mode))
		return mvm_error_set(err, -EPERM,
				     "'%s' leads through a symbolic link that was not there before",
				     v->host);
	if (r < 0)
		return mvm_error_set(err, r, "cannot open '%s': %s", v->host, strerror(-r));
	ret->is_file = S_ISREG(st.st_mode);
	return 0;
}

static int folder_in(struct control *c, const struct record_volume *v, const struct place *p,
		     struct strbuf *note, struct mvm_error *err)
{
	enum put_owner owner = v->write_back ? OWNER_FOLDERS : OWNER_WORKLOAD;
	AUTO_FREE char *from = str_printf("%s/.", p->name);
	return from ? copy_put(c, p->dir_fd, from, v->guest, true, ".", owner, &volume_options,
			       note, err)
		    : mvm_error_oom(err);
}

/* Into the folder of its place, which is made if missing; so a folder at its place is refused, as
 * the file cannot replace it. */
static int file_in(struct control *c, const struct record_volume *v, const struct place *p,
		   struct strbuf *note, struct mvm_error *err)
{
	const char *slash = strrchr(v->guest, '/');
	AUTO_FREE char *folder = strndup(v->guest, (size_t)(slash - v->guest) + 1);
	return folder ? copy_put(c, p->dir_fd, p->name, folder, true, slash + 1, OWNER_WORKLOAD,
				 &volume_options, note, err)
		      : mvm_error_oom(err);
}

int volume_copy_in(struct control *c, const struct record_volume *v, struct mvm_error *err)
{
	AUTO_DONE(strbuf) note = { 0 };
	AUTO_DONE(place) p = { .dir_fd = -1 };
	int r = find_place(v, &p, err);
	if (r == 0)
		r = p.is_file ? file_in(c, v, &p, &note, err) : folder_in(c, v, &p, &note, err);
	return r < 0 ? mvm_error_context(err, r, "copying '%s' to '%s'", v->host, v->guest) : 0;
}

int volume_copy_back(struct control *c, const struct record_volume *v, int64_t deadline_ns,
		     int cancel_fd, struct mvm_error *err)
{
	struct mvm_copy_options options = volume_options;
	AUTO_DONE(strbuf) note = { 0 };
	AUTO_DONE(place) p = { .dir_fd = -1 };
	int r = find_place(v, &p, err);
	if (r < 0)
		return r;
	options.timeout_ms = clock_remaining_ms(deadline_ns);
	options.cancel_fd = cancel_fd;
	if (p.is_file)
		return copy_get(c, v->guest, p.dir_fd, p.name, &options,
				UNPACK_KEEP_SAME | UNPACK_ONE_FILE, &note, err);
	AUTO_FREE char *from = str_printf("%s/.", v->guest);
	return from ? copy_get(c, from, p.dir_fd, p.name, &options, UNPACK_KEEP_SAME, &note, err)
		    : mvm_error_oom(err);
}

int volumes_copy_back(struct control *c, const struct record *rec, int64_t deadline_ns,
		      int cancel_fd, struct mvm_error *err)
{
	AUTO_DONE(strbuf) lost = { 0 };
	struct mvm_error why = { 0 };
	int result = 0;
	for (size_t k = 0; k < rec->n_volumes; k++) {
		const struct record_volume *v = &rec->volumes[k];
		int r = v->write_back ? volume_copy_back(c, v, deadline_ns, cancel_fd, &why) : 0;
		if (r == 0)
			continue;
		strbuf_addf(&lost, "%s'%s' did not come back to '%s': %s", lost.len ? "; " : "",
			    v->guest, v->host, why.text);
		result = r;
	}
	if (result == 0)
		return 0;
	return lost.failed ? mvm_error_oom(err) : mvm_error_set(err, result, "%s", lost.data);
}

int volume_lock(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd < 0 ? -errno : fd;
	int r = errno == EWOULDBLOCK ? -EBUSY : -errno;
	(void)close(fd); /* a folder */
	return r;
}

int volume_lock_failed(const char *name, int code, struct mvm_error *err)
{
	if (code != -EBUSY)
		return mvm_error_set(err, code, "cannot lock volume '%s': %s", name,
				     strerror(-code));
	(void)mvm_error_set(err, code, "volume '%s' is in use by another VM, which may write to it",
			    name);
	return mvm_error_hint(err, code,
			      "stop that VM first, or use a copy of what it had with :ro");
}
