/* SPDX-License-Identifier: Apache-2.0 */
#include "store/gc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/file.h"
#include "codec/sha256.h"
#include "store/cache.h"
#include "store/images.h"
#include "store/revision.h"
#include "store/store_priv.h"
#include "store/turn.h"

void gc_done(struct gc *gc)
{
	inodes_done(&gc->gone);
	strv_done(&gc->images);
}

static uint64_t disk_bytes(const struct stat *st)
{
	return (uint64_t)st->st_blocks * 512;
}

/* Number of a file's names, without those that a dry run counted away. */
static nlink_t links_left(const struct gc *gc, const struct stat *st)
{
	const struct inode *i = inodes_find(&gc->gone, st);
	return i ? st->st_nlink - i->links : st->st_nlink;
}

/* A dry run counts a name away.  A file with one name will not be met again.  0 or -ENOMEM. */
static int count_away(struct gc *gc, const struct stat *st)
{
	struct inode *i = st->st_nlink > 1 ? inodes_get(&gc->gone, st) : NULL;
	if (i)
		i->links++;
	return i || st->st_nlink <= 1 ? 0 : -ENOMEM;
}

int gc_count_revision(struct gc *gc, int dir_fd, uint64_t *ret_bytes, struct mvm_error *err)
{
	AUTO_DONE(strv) paths = { 0 };
	uint64_t bytes = 0;
	struct stat st;

	int r = store_revision_files(dir_fd, &paths);
	if (r < 0 && r != -ENOMEM)
		return 0; /* a damaged revision counts as 0 bytes */
	for (size_t i = 0; r == 0 && i < paths.n; i++) {
		if (fstatat(dir_fd, paths.v[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (links_left(gc, &st) == 1)
			bytes += disk_bytes(&st);
		if (gc->dry_run)
			r = count_away(gc, &st);
	}
	if (r < 0)
		return mvm_error_oom(err);
	*ret_bytes = bytes;
	return 0;
}

/* Does a revision, staging folder or kernel share this blob?  A missing blob is shared by none. */
static bool has_other_user(const struct gc *gc, const struct mvm_digest *digest)
{
	char hex[DIGEST_HEX_SIZE];
	struct stat st;

	digest_hex(digest, hex);
	return fstatat(store_dir(gc->store, STORE_BLOBS), hex, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
	       links_left(gc, &st) > 1;
}

/* Does a revision of this build exist?  Initrds do not count: a build can have two, of which a
 * revision uses one. */
static int keep_build(void *arg, const struct store_build *build)
{
	struct gc *gc = arg;

	for (size_t i = 0; i < build->n_artifacts; i++) {
		const struct store_cached_artifact *a = &build->artifacts[i];
		if (!strstr(a->name, "initrd") && !has_other_user(gc, &a->digest))
			return 0;
	}
	for (size_t i = 0; i < build->facts.n; i++) {
		if (str_starts(build->facts.v[i], STORE_IMAGE_FACT))
			strv_add(&gc->images, build->facts.v[i] + strlen(STORE_IMAGE_FACT));
	}
	return gc->images.failed ? -ENOMEM : 1;
}

static int count_link(void *arg, const struct stat *st)
{
	struct gc *gc = arg;

	if (st->st_nlink <= 1) /* a copy, on a file system without links */
		gc->freed_bytes += disk_bytes(st);
	return gc->dry_run ? count_away(gc, st) : 0;
}

/* Images of builds that are gone, and beginnings of blobs. */
static int collect_images(struct gc *gc, struct mvm_error *err)
{
	AUTO_DONE(strv) names = { 0 };

	int r = store_dir_names(gc->store, STORE_IMAGES, &names, err);
	for (size_t i = 0; r == 0 && i < names.n; i++) {
		if (strv_has(&gc->images, names.v[i]))
			continue;
		r = store_image_drop(gc->store, names.v[i], gc->dry_run, count_link, gc);
		if (r < 0)
			return mvm_error_set(err, r, "cannot remove image '%s': %s", names.v[i],
					     strerror(-r));
	}
	if (r == 0) { /* or the next time */
		store_sweep_pulls(gc->store, gc->dry_run, &gc->freed_bytes);
		store_sweep_chunks(gc->store, gc->dry_run, &gc->freed_bytes);
	}
	return r;
}

/*
 * Did mvm put this file among the blobs?  Each of its blobs is a plain file of mode 0444.  A file
 * that somebody else copies there rarely is, even under a digest's name.  Hashing would not tell
 * them apart: a foreign file may match its name, and our own damaged blob must go.
 */
static bool is_own_blob(const struct stat *st)
{
	return S_ISREG(st->st_mode) && (st->st_mode & 07777) == 0444 && st->st_uid == geteuid();
}

/* Blobs of cached builds have other users, so every blob with one name is garbage. */
static int collect_blobs(struct gc *gc, const struct strv *names, struct mvm_error *err)
{
	int blobs_fd = store_dir(gc->store, STORE_BLOBS);
	struct mvm_digest digest;
	struct stat st;

	for (size_t i = 0; i < names->n; i++) {
		if (digest_parse(names->v[i], &digest) < 0 ||
		    fstatat(blobs_fd, names->v[i], &st, AT_SYMLINK_NOFOLLOW) < 0)
			continue;
		if (!is_own_blob(&st) || links_left(gc, &st) > 1)
			continue;
		if (!gc->dry_run && unlinkat(blobs_fd, names->v[i], 0) < 0)
			return mvm_error_set(err, -errno, "cannot remove blob '%s': %s",
					     names->v[i], strerror(errno));
		gc->n_blobs++;
		gc->freed_bytes += disk_bytes(&st);
	}
	return 0;
}

int gc_collect(struct gc *gc, struct mvm_error *err)
{
	AUTO_DONE(strv) blobs = { 0 };
	AUTO_CLOSE int lock = -1;

	if (!gc->dry_run) {
		lock = store_lock(gc->store, "collects garbage", gc->progress);
		if (lock < 0)
			return store_lock_failed(gc->store, STORE_LOCKS, "store", lock, err);
		turn_sweep(gc->store); /* failures of these three leave only small files behind */
		store_sweep_locks(gc->store);
		store_sweep_files(gc->store);
	}
	/* list the blobs before filtering the cache: an unreadable folder must not look empty */
	int r = store_dir_names(gc->store, STORE_BLOBS, &blobs, err);
	if (r == 0)
		r = store_cache_filter(gc->store, gc->dry_run, keep_build, gc, &gc->n_cached, err);
	if (r == 0)
		r = collect_images(gc, err);
	return r < 0 ? r : collect_blobs(gc, &blobs, err);
}
