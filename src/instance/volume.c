/* SPDX-License-Identifier: Apache-2.0 */
#include "instance/volume.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "copy/unpack.h"
#include "instance/copy.h"

/* No user watches these copies: a guest that is silent for this long has failed. */
#define VOLUME_IDLE_MS 30000

static const struct copy_options volume_options = {
	.stream_fd = -1,
	.timeout_ms = -1,
	.idle_ms = VOLUME_IDLE_MS,
};

static int folder_in(struct control *c, const struct record_volume *v, const struct volume_place *p,
		     const struct copy_options *o, struct strbuf *note, struct mvm_error *err)
{
	enum put_owner owner = v->write_back ? OWNER_FOLDERS : OWNER_WORKLOAD;
	return copy_put(c, p->fd, p->path, v->guest, true, ".", owner, o, note, err);
}

/* Copy a file into its parent folder in the guest, which is made if missing.  A folder under the
 * file's name is an error, because the file cannot replace it. */
static int file_in(struct control *c, const struct record_volume *v, const struct volume_place *p,
		   const struct copy_options *o, struct strbuf *note, struct mvm_error *err)
{
	const char *slash = strrchr(v->guest, '/');
	AUTO_FREE char *folder = strndup(v->guest, (size_t)(slash - v->guest) + 1);
	return folder ? copy_put(c, p->fd, p->path, folder, true, slash + 1, OWNER_WORKLOAD, o,
				 note, err)
		      : mvm_error_oom(err);
}

int64_t volumes_deadline_ns(const struct record *r)
{
	return clock_deadline_ns(r->volume_timeout_ms ? r->volume_timeout_ms : VOLUME_TIMEOUT_MS);
}

static struct copy_options within(int64_t deadline_ns, const struct mvm_progress *progress)
{
	struct copy_options options = volume_options;
	options.timeout_ms = clock_remaining_ms(deadline_ns);
	options.progress = progress;
	return options;
}

void volume_places_open(const struct record *rec, bool back, struct volume_places *ret)
{
	ret->umask = process_umask();
	for (size_t k = 0; k < RECORD_VOLUMES_MAX; k++) {
		ret->at[k] = (struct volume_place)VOLUME_PLACE_NONE;
		ret->why[k] = (struct mvm_error){ 0 };
		const struct record_volume *v = &rec->volumes[k];
		if (k < rec->n_volumes && (!back || v->write_back))
			volume_place_open(v->host, v->kind, back, &ret->at[k], &ret->why[k]);
	}
}

void volume_places_done(struct volume_places *p)
{
	for (size_t k = 0; k < RECORD_VOLUMES_MAX; k++)
		volume_place_done(&p->at[k]);
}

static int copy_in_one(struct control *c, const struct record_volume *v,
		       const struct volume_place *p, int64_t deadline_ns, struct strbuf *note,
		       struct mvm_error *err)
{
	const struct copy_options options = within(deadline_ns, NULL);
	return p->is_file ? file_in(c, v, p, &options, note, err)
			  : folder_in(c, v, p, &options, note, err);
}

static int copy_back_one(struct control *c, const struct record_volume *v,
			 const struct volume_place *p, const struct copy_options *options,
			 struct strbuf *note, struct mvm_error *err)
{
	unsigned flags = UNPACK_KEEP_SAME | UNPACK_GO_ON | UNPACK_REPLACE_LINKS | UNPACK_UMASK;
	if (p->is_file) {
		int r = copy_get(c, v->guest, p->fd, p->path, options, flags | UNPACK_ONE_FILE,
				 note, err);
		if (r != -ENOENT)
			return r;
		strbuf_addf(note, "the guest has removed it%s",
			    p->missing ? "" : "; the file here stays");
		return 0;
	}
	AUTO_FREE char *from = str_printf("%s/.", v->guest);
	return from ? copy_get(c, from, p->fd, p->path, options, flags, note, err)
		    : mvm_error_oom(err);
}

static int opened(const struct volume_places *places, size_t k, struct mvm_error *err)
{
	if (places->why[k].code && err)
		*err = places->why[k];
	return places->why[k].code;
}

/* Add one volume's note to the note about all volumes. */
static void add_note(struct strbuf *to, const char *guest, const struct strbuf *note)
{
	if (note->len)
		strbuf_addf(to, "%s'%s': %s", to->len ? "; " : "", guest, note->data);
}

static void add_lost(struct strbuf *to, const struct record_volume *v, const char *why)
{
	strbuf_addf(to, "%s'%s' did not come back to '%s': %s", to->len ? "; " : "", v->guest,
		    v->host, why);
}

int volumes_copy_in(struct control *c, const struct record *rec, const struct volume_places *places,
		    int64_t deadline_ns, struct strbuf *ret_note, struct mvm_error *err)
{
	for (size_t k = 0; k < rec->n_volumes; k++) {
		const struct record_volume *v = &rec->volumes[k];
		AUTO_DONE(strbuf) note = { 0 };
		int r = opened(places, k, err);
		if (r == 0)
			r = copy_in_one(c, v, &places->at[k], deadline_ns, &note, err);
		if (r < 0)
			return mvm_error_context(err, r, "copying '%s' to '%s'", v->host, v->guest);
		add_note(ret_note, v->guest, &note);
	}
	return 0;
}

int volumes_copy_back(struct control *c, const struct record *rec,
		      const struct volume_places *places, int64_t deadline_ns,
		      const struct mvm_progress *progress, struct strbuf *ret_note,
		      struct mvm_error *err)
{
	AUTO_DONE(strbuf) lost = { 0 };
	struct mvm_error why = { 0 };
	int result = 0;
	for (size_t k = 0; k < rec->n_volumes; k++) {
		const struct record_volume *v = &rec->volumes[k];
		AUTO_DONE(strbuf) note = { 0 };
		if (!v->write_back)
			continue;
		struct copy_options options = within(deadline_ns, progress);
		options.umask = places->umask;
		int r = opened(places, k, &why);
		if (r == 0)
			r = copy_back_one(c, v, &places->at[k], &options, &note, &why);
		if (r == 0)
			add_note(ret_note, v->guest, &note);
		else
			add_lost(&lost, v, why.text);
		/* ENOENT and EBUSY are about a file in the guest; of the VM they would mean
		 * something else */
		if (r < 0)
			result = r == -ENOENT || r == -EBUSY ? -EIO : r;
	}
	if (result == 0)
		return 0;
	if (lost.failed)
		return mvm_error_oom(err);
	result = mvm_error_set(err, result, "%s", lost.data);
	return why.reason[0] ? mvm_error_reason(err, result, why.reason, why.subject) : result;
}

bool volumes_come_back(const struct record *r)
{
	bool wanted = false;
	for (size_t i = 0; i < r->n_volumes; i++)
		wanted |= r->volumes[i].write_back;
	return wanted;
}

int volumes_all_lost(const struct record *r, bool back, const char *why, struct mvm_error *err)
{
	AUTO_DONE(strbuf) lost = { 0 };
	if (!back)
		return mvm_error_set(err, -EIO,
				     "the volumes could not be copied into the guest: %s", why);
	for (size_t i = 0; i < r->n_volumes; i++) {
		if (r->volumes[i].write_back)
			add_lost(&lost, &r->volumes[i], why);
	}
	return lost.len ? mvm_error_set(err, -EIO, "%s", lost.data) : mvm_error_oom(err);
}

int volume_lock(const char *path)
{
	int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0 || flock(fd, LOCK_EX | LOCK_NB) == 0)
		return fd < 0 ? -errno : fd;
	int r = errno == EWOULDBLOCK ? -EBUSY : -errno;
	close(fd); /* a folder */
	return r;
}

int volume_lock_failed(const char *name, int code, struct mvm_error *err)
{
	if (code != -EBUSY)
		return mvm_error_set(err, code, "cannot lock volume '%s': %s", name,
				     strerror(-code));
	mvm_error_set(err, code, "volume '%s' is in use by another VM, which may write to it",
		      name);
	return mvm_error_reason(err, code, "volume-in-use", name);
}
