/* SPDX-License-Identifier: Apache-2.0 */
#include "template/chunk_lists.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "store/revision.h"

/* A pull reads at most so much of files without a list; the next one goes on. */
#define NEW_LISTS_BYTES ((uint64_t)8 << 30)

/* ---- kept lists ---- */

/* Read a file's list, and mark it as used.  1, or 0 if there is none. */
static int load(struct store *s, const char *hex, struct chunk_index *ret)
{
	AUTO_FREE char *text = NULL;
	size_t len;

	int dir = store_dir(s, STORE_CHUNKS);
	if (dir < 0 || file_read_at(dir, hex, INDEX_MAX_BYTES, &text, &len) < 0 ||
	    chunk_index_parse(text, len, ret, NULL) < 0)
		return 0;
	utimensat(dir, hex, NULL, AT_SYMLINK_NOFOLLOW);
	return ret->n_files == 1;
}

/* An index of one file becomes its list. */
static void save(struct store *s, const char *hex, const struct chunk_index *list)
{
	AUTO_FREE uint8_t *text = NULL;
	size_t len;

	int dir = store_dir(s, STORE_CHUNKS);
	if (dir >= 0 && chunk_index_format(list, &text, &len, NULL) == 0)
		file_replace_unsynced_at(dir, hex, text, len, 0600);
}

void chunk_lists_keep(struct store *s, const struct chunk_index *index, const int *fds)
{
	AUTO_DONE(chunk_index) list = { 0 };
	char hex[DIGEST_HEX_SIZE];

	for (uint32_t i = 0; i < index->n_files; i++) {
		const struct index_file *f = &index->files[i];
		digest_hex(&f->digest, hex);
		int dir = store_dir(s, STORE_CHUNKS);
		if (dir < 0 || f->raw || (fds && fds[i] < 0) ||
		    faccessat(dir, hex, F_OK, AT_SYMLINK_NOFOLLOW) == 0)
			continue;
		list = (struct chunk_index){ .n_files = 1,
					     .n_parts = f->n_parts,
					     .chunks = index->chunks + f->first_chunk,
					     .n_chunks = f->n_chunks };
		list.files[0] = *f;
		list.files[0].first_chunk = list.files[0].first_part = 0;
		memcpy(list.parts, index->parts + f->first_part, f->n_parts * sizeof(*list.parts));
		save(s, hex, &list);
		list.chunks = NULL; /* the index's */
	}
}

/* ---- chunks of local files ---- */

struct looking {
	struct mvm *mvm;
	struct assembly *a;
	struct progress_step *step;
	uint64_t *bytes;
	uint64_t left;	  /* to read of files without a list */
	bool make;	  /* lists that are missing */
	struct strv seen; /* digests of files */
};

static void looking_done(struct looking *l)
{
	strv_done(&l->seen);
}
DEFINE_AUTO_DONE(looking, looking_done)

/* Make a file's list, unless that takes too long.  1, 0 or -ECANCELED. */
static int make(struct looking *l, const char *name, const char *hex, int fd,
		struct chunk_index *ret, struct mvm_error *err)
{
	struct stat st;

	if (!l->make || fstat(fd, &st) < 0 || (uint64_t)st.st_blocks * 512 > l->left)
		return 0;
	l->left -= (uint64_t)st.st_blocks * 512;
	int r = chunks_of_file(name, fd, ret, l->step, err);
	if (r < 0)
		return r == -ECANCELED ? r : 0;
	if (digest_parse(hex, &ret->files[0].digest) == 0)
		save(l->mvm->store, hex, ret);
	return 1;
}

static int look_at_file(struct looking *l, int dir_fd, const char *name,
			const struct mvm_digest *digest, struct mvm_error *err)
{
	AUTO_DONE(chunk_index) list = { 0 };
	char hex[DIGEST_HEX_SIZE];

	digest_hex(digest, hex);
	if (strv_has(&l->seen, hex))
		return 0;
	AUTO_CLOSE int fd = openat(dir_fd, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
	int r = fd < 0 ? 0 : load(l->mvm->store, hex, &list);
	if (r == 0 && fd >= 0)
		r = make(l, name, hex, fd, &list, err);
	if (r <= 0)
		return r;
	strv_add(&l->seen, hex);
	return assembly_take_file(l->a, fd, &list, &list.files[0], l->step, l->bytes, err);
}

static int look_at_revision(struct looking *l, const char *id, const char *revision,
			    struct mvm_error *err)
{
	AUTO_DONE(checksums) sums = { 0 };
	int r = 0;

	AUTO_CLOSE int dir_fd = store_revision_open(l->mvm->store, id, revision, NULL);
	if (dir_fd < 0 || store_checksums_read(dir_fd, &sums, NULL) < 0)
		return 0;
	for (uint32_t i = 0; r == 0 && i < l->a->index->n_files; i++) {
		const struct index_file *file = &l->a->index->files[i];
		const struct mvm_digest *digest = checksums_find(&sums, file->name);
		if (digest && assembly_lacks(l->a, file))
			r = look_at_file(l, dir_fd, file->name, digest, err);
	}
	return r < 0 ? r : progress_check(l->step->to, err);
}

static int look_at_template(struct looking *l, const char *id, struct mvm_error *err)
{
	AUTO_DONE(strv) revisions = { 0 };
	char current[MVM_REVISION_SIZE] = "";
	int r = 0;

	if (store_current_get(l->mvm->store, id, current, NULL) == 0)
		r = look_at_revision(l, id, current, err);
	if (r < 0 || store_revision_list(l->mvm->store, id, &revisions, NULL) < 0)
		return r;
	for (size_t i = 0; r == 0 && l->a->n_missing && i < revisions.n; i++) {
		if (!str_eq(revisions.v[i], current))
			r = look_at_revision(l, id, revisions.v[i], err);
	}
	return r;
}

int chunk_lists_take(struct mvm *mvm, const char *id, struct assembly *a,
		     struct progress_step *step, uint64_t *ret_bytes, struct mvm_error *err)
{
	AUTO_DONE(looking) l = {
		.mvm = mvm, .a = a, .step = step, .bytes = ret_bytes, .left = NEW_LISTS_BYTES
	};
	AUTO_DONE(strv) ids = { 0 };

	int r = store_template_list(mvm->store, &ids, err);
	for (int pass = 0; r == 0 && a->n_missing && pass < 2; pass++) {
		l.make = pass == 1;
		if (strv_has(&ids, id))
			r = look_at_template(&l, id, err);
		for (size_t i = 0; r == 0 && a->n_missing && i < ids.n; i++) {
			if (!str_eq(ids.v[i], id))
				r = look_at_template(&l, ids.v[i], err);
		}
	}
	return r;
}
