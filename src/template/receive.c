/* SPDX-License-Identifier: Apache-2.0 */
/* An artifact becomes the current revision of a template. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/error.h"
#include "base/file.h"
#include "base/progress.h"
#include "build/committed.h"
#include "codec/sha256.h"
#include "instance/own_disk.h"
#include "model/policy.h"
#include "start/disks.h"
#include "start/facts.h"
#include "start/memory_file.h"
#include "store/blob.h"
#include "template/artifact.h"
#include "template/publish.h"
#include "template/spec_rules.h"

/* Files that unpack to so many times their blobs, beyond this size, are refused. */
#define BOMB_MIN_BYTES ((uint64_t)1 << 30)
#define BOMB_RATIO     256u
/* And holes take time: they count in a file's digest, at 1.5 GB/s or so. */
#define HOLES_MAX_BYTES ((uint64_t)1 << 40)

DEFINE_AUTO_DONE(mvm_snapshot_info, mvm_snapshot_info_done)

struct receipt {
	struct mvm *mvm;
	const struct artifact *a;
	const struct artifact_receive *how;
	const struct mvm_progress *progress;
	struct mvm_artifact_result *result;
	struct mvm_template_revision rev; /* the artifact's configuration */
	struct mvm_template_spec spec;	  /* that gives this revision */
	bool is_new;			  /* the template */
	bool with_snapshot;
	struct staging staging;
	struct staging view; /* of publish_view() */
	struct build_artifacts artifacts;
	struct mvm_artifact files[PUBLISH_SNAPSHOT_FILES]; /* of the snapshot */
	size_t n_files;
	int fds[INDEX_MAX_FILES]; /* of the artifact's files in staging; -1: not needed */
};

static void receipt_done(struct receipt *r)
{
	mvm_template_revision_done(&r->rev);
	mvm_template_spec_done(&r->spec);
	staging_done(&r->staging);
	staging_done(&r->view);
	build_artifacts_done(&r->artifacts);
	for (size_t i = 0; i < INDEX_MAX_FILES; i++)
		auto_close(&r->fds[i]);
}
DEFINE_AUTO_DONE(receipt, receipt_done)

/* ---- what the artifact says ---- */

static int lacks(const char *name, struct mvm_error *err)
{
	return mvm_error_set(err, -EBADMSG, "it has no '%s', which its configuration needs", name);
}

/* A snapshot has an image of its own if it says so, and only then. */
static int check_own_image(const struct receipt *c, struct mvm_error *err)
{
	bool has = chunk_index_find(&c->a->index, OWN_IMAGE_PATH) != NULL;
	bool needs = c->rev.has_snapshot &&
		     mvm_snapshot_info_compat(&c->rev.snapshot, FACT_OWN_IMAGE);
	if (needs && !has)
		return lacks(OWN_IMAGE_PATH, err);
	if (has && !needs)
		return mvm_error_set(err, -EBADMSG,
				     "it has '" OWN_IMAGE_PATH "', which its configuration "
				     "does not need");
	return 0;
}

/* Which files must a snapshot of this revision have, of which size?  0: it has no such file. */
static uint64_t snapshot_bytes(const struct mvm_template_revision *rev, const char *name)
{
	if (str_eq(name, "snapshot/vmstate.bin"))
		return rev->snapshot.vmstate_size_bytes;
	if (str_eq(name, "snapshot/mem.bin"))
		return rev->snapshot.mem_size_bytes;
	if (str_eq(name, own_disks[OWN_DISK_DATA].captured))
		return (uint64_t)rev->data_disk_mib << 20;
	if (str_eq(name, own_disks[OWN_DISK_ROOT].captured))
		return (uint64_t)rev->root_disk_mib << 20;
	return 0;
}

static int check_files(const struct receipt *c, struct mvm_error *err)
{
	const struct chunk_index *x = &c->a->index;

	for (uint32_t i = 0; i < x->n_files; i++) {
		const char *name = x->files[i].name;
		if (!artifact_lists(artifact_image_files, name) &&
		    !(c->rev.has_snapshot && artifact_lists(artifact_snapshot_files, name)))
			return mvm_error_set(err, -EBADMSG, "it has '%s', which no revision has",
					     name);
	}
	for (const char *const *name = artifact_image_files; *name; name++) {
		if (!chunk_index_find(x, *name))
			return lacks(*name, err);
	}
	for (const char *const *n = artifact_snapshot_files; c->rev.has_snapshot && *n; n++) {
		const struct index_file *file = chunk_index_find(x, *n);
		uint64_t bytes = snapshot_bytes(&c->rev, *n);
		if (bytes && !file)
			return lacks(*n, err);
		if (file && file->bytes != bytes && !str_eq(*n, "snapshot/working-set.bin") &&
		    !str_eq(*n, OWN_IMAGE_PATH))
			return mvm_error_set(err, -EBADMSG,
					     "the size of '%s' is not that of its configuration",
					     *n);
	}
	return check_own_image(c, err);
}

/* The settings that give this revision.  A new template gets them, too. */
static int make_spec(struct receipt *c, struct mvm_error *err)
{
	const struct mvm_template_revision *rev = &c->rev;
	struct mvm_template_spec *spec = &c->spec;
	char digest[DIGEST_TEXT_SIZE];
	bool failed = false;

	digest_text(&c->a->manifest.digest, digest);
	spec->schema_version = MVM_SCHEMA_VERSION;
	spec->template_id = str_dup(c->how->id, &failed);
	spec->flake_ref = str_printf(RECEIVED_PREFIX "%s", digest);
	spec->profile = str_dup(rev->profile, &failed);
	spec->role = str_dup(rev->role, &failed);
	spec->vcpus = rev->vcpus;
	spec->mem_mib = rev->mem_mib;
	spec->data_disk_mib = rev->data_disk_mib;
	spec->root_disk_mib = rev->root_disk_mib;
	spec->created_at = spec->updated_at = clock_wall_ns() / NS_PER_S;
	int r = failed || !spec->flake_ref ? mvm_error_oom(err)
					   : mvm_run_copy(&rev->run, &spec->run, err);
	if (r == 0)
		r = spec_check(spec, err);
	if (r == 0)
		r = disks_check(spec->data_disk_mib, spec->root_disk_mib, err);
	return r;
}

static void digest_of(const struct receipt *c, const char *name, struct mvm_digest *ret,
		      uint64_t *ret_bytes)
{
	const struct index_file *file = chunk_index_find(&c->a->index, name);
	*ret = file->digest; /* check_files() has found it */
	*ret_bytes = file->bytes;
}

/* Describe the revision, and check that its name follows from its files and settings. */
static int describe(struct receipt *c, struct mvm_error *err)
{
	struct build_artifacts *a = &c->artifacts;
	char hash[MVM_REVISION_HASH_SIZE];
	bool failed = false;

	digest_of(c, "vmlinux", &a->vmlinux, &a->vmlinux_bytes);
	digest_of(c, "initrd", &a->initrd, &a->initrd_bytes);
	digest_of(c, "rootfs.ext4", &a->rootfs, &a->rootfs_bytes);
	digest_hex(&a->rootfs, a->lock);
	a->flake_ref = str_dup(c->spec.flake_ref, &failed);
	a->info.builder = str_dup("artifact", &failed);
	a->info.mvm_version = str_dup(MVM_VERSION, &failed);
	int r = failed ? mvm_error_oom(err) : publish_hash(&c->spec, a, hash, err);
	if (r == 0 && !str_eq(hash, c->rev.revision_hash))
		r = mvm_error_set(err, -EBADMSG, "it calls itself revision %.12s, and is %.12s",
				  c->rev.revision_hash, hash);
	return r;
}

/* An index of variants says which revision they are all of. */
static int check_revision(const struct receipt *c, struct mvm_error *err)
{
	const char *says = c->how->revision;
	return str_empty(says) || str_eq(says, c->rev.revision_hash)
		       ? 0
		       : mvm_error_set(err, -EBADMSG,
				       "it is revision %.12s, and its index says %.12s",
				       c->rev.revision_hash, says);
}

static int read_config(struct receipt *c, struct mvm_error *err)
{
	int r = mvm_template_revision_parse(c->a->config, c->a->config_len, "its configuration",
					    &c->rev, err);
	if (r == 0)
		r = artifact_config_check(&c->rev, err);
	if (r == 0)
		r = check_revision(c, err);
	if (r == 0)
		r = check_files(c, err);
	if (r == 0)
		r = make_spec(c, err);
	if (r == -EINVAL) { /* the artifact's fault, not the caller's */
		r = mvm_error_context(err, r, "its configuration");
		if (err)
			err->code = -EBADMSG;
		r = -EBADMSG;
	}
	return r < 0 ? r : describe(c, err);
}

/* Tell what a stranger's settings open: rules for more than names and the internet. */
static void note_rules(const struct receipt *c)
{
	const struct mvm_strings *allow = &c->rev.run.allow;
	AUTO_DONE(strbuf) opened = { 0 };

	for (size_t i = 0; i < allow->n; i++) {
		struct policy_rule rule;
		if (policy_rule_parse(allow->v[i], &rule, NULL) < 0 ||
		    rule.target == POLICY_DOMAIN || rule.target == POLICY_INTERNET)
			continue;
		strbuf_addf(&opened, "%s%s", opened.len ? ", " : "", allow->v[i]);
	}
	if (opened.len && !opened.failed && !c->how->signed_by)
		progress_note(c->progress, "%s: its settings let VMs reach %s", c->how->id,
			      opened.data);
}

/* ---- what is here ---- */

/* Is the snapshot for a host like this one?  If not, no start could restore it. */
static bool fits(const struct receipt *c)
{
	if (!c->how->keys || facts_fit(&c->rev.snapshot, c->how->keys, c->how->n_keys))
		return true;
	progress_note(c->progress, "%s: there is no snapshot for a host like this one", c->how->id);
	c->result->snapshot_unfit = true;
	return false;
}

/* Is the snapshot wanted?  One that was made here stays, as it surely works here. */
static bool wants_snapshot(const struct receipt *c)
{
	AUTO_DONE(revision) here = REVISION_NONE;
	char digest[DIGEST_TEXT_SIZE];

	if (!c->rev.has_snapshot || c->how->image_only)
		return false;
	if (revision_look(c->mvm, c->how->id, c->rev.revision_hash, &here, NULL) < 0 ||
	    !here.rev.has_snapshot)
		return fits(c);
	digest_text(&c->a->manifest.digest, digest);
	if (str_eq(here.rev.snapshot.origin, digest)) /* this one; a key may be trusted by now */
		return !str_eq(here.rev.snapshot.signed_by, c->how->signed_by);
	if (here.rev.snapshot.origin)
		return fits(c);
	progress_note(c->progress,
		      "%s: the revision keeps its snapshot, which was made on this host",
		      c->how->id);
	return false;
}

/* Link the files that are blobs here into staging, which keeps a prune from collecting them. */
static void link_known(struct receipt *c)
{
	for (const char *const *name = artifact_image_files; *name; name++) {
		const struct index_file *file = chunk_index_find(&c->a->index, *name);
		uint64_t bytes;
		if (store_blob_has(c->mvm->store, &file->digest, &bytes) && bytes == file->bytes &&
		    store_blob_link(c->mvm->store, &file->digest, c->staging.fd, *name, NULL) >= 0)
			c->result->reused_bytes += file->bytes;
	}
}

/* Must this file be unpacked? */
static bool is_needed(const struct receipt *c, const struct index_file *file)
{
	if (!artifact_lists(artifact_image_files, file->name))
		return c->with_snapshot;
	return faccessat(c->staging.fd, file->name, F_OK, AT_SYMLINK_NOFOLLOW) < 0;
}

/* The bytes of blobs; one that is named again counts once. */
static uint64_t distinct_bytes(const struct index_part *parts, size_t n)
{
	uint64_t bytes = 0;

	for (size_t i = 0; i < n; i++) {
		size_t k = 0;
		while (!digest_equal(&parts[k].digest, &parts[i].digest))
			k++;
		bytes += k == i ? parts[i].bytes : 0;
	}
	return bytes;
}

/* Is there room for what the files unpack to, and is it no bomb?  Memory that is not zero packs to
 * a hundredth at best; few bytes may do as they like. */
static int check_room(const struct receipt *c, uint64_t data, uint64_t holes, uint64_t packed,
		      struct mvm_error *err)
{
	char need[24], have[24];
	struct statvfs st;

	str_bytes(data, need, sizeof(need));
	str_bytes(packed, have, sizeof(have));
	if (data > BOMB_MIN_BYTES && data / BOMB_RATIO > packed)
		return mvm_error_set(err, -EFBIG, "its %s would unpack to %s", have, need);
	str_bytes(holes, have, sizeof(have));
	if (holes > HOLES_MAX_BYTES && !c->how->signed_by)
		return mvm_error_set(err, -EFBIG,
				     "its files have %s of holes, and no key that you trust has "
				     "signed it",
				     have);
	if (fstatvfs(c->staging.fd, &st) < 0 || (uint64_t)st.f_bavail * st.f_frsize >= data)
		return 0;
	str_bytes((uint64_t)st.f_bavail * st.f_frsize, have, sizeof(have));
	return mvm_error_set(err, -ENOSPC, "its files need %s, and only %s are free", need, have);
}

/* Make the needed files in staging, empty. */
static int make_files(struct receipt *c, struct mvm_error *err)
{
	struct index_part parts[INDEX_MAX_PARTS];
	uint64_t data = 0, holes = 0;
	size_t n = 0;

	AUTO_CLOSE int dir = c->with_snapshot ? dir_make_at(c->staging.fd, "snapshot") : -1;
	if (c->with_snapshot && dir < 0)
		return mvm_error_set(err, dir, "cannot make a folder in staging: %s",
				     strerror(-dir));
	for (uint32_t i = 0; i < c->a->index.n_files; i++) {
		const struct index_file *file = &c->a->index.files[i];
		if (!is_needed(c, file))
			continue;
		c->fds[i] = openat(c->staging.fd, file->name,
				   O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
		if (c->fds[i] < 0)
			return mvm_error_set(err, -errno, "cannot create '%s': %s", file->name,
					     strerror(errno));
		int r = str_eq(file->name, "snapshot/mem.bin")
				? memory_file_share(c->fds[i], &c->rev.snapshot)
				: 0;
		if (r < 0)
			return mvm_error_set(err, r, "'%s': %s", file->name, strerror(-r));
		uint64_t stored = chunk_index_data(&c->a->index, file);
		data += stored;
		holes += file->bytes - stored;
		for (uint32_t k = 0; k < file->n_parts; k++)
			parts[n++] = c->a->index.parts[file->first_part + k];
	}
	return check_room(c, data, holes, distinct_bytes(parts, n), err);
}

int artifact_unpack_files(const struct artifact *a, const int *fds, const char *what,
			  const struct mvm_progress *progress, uint64_t *ret_moved,
			  struct mvm_error *err)
{
	AUTO_DONE(progress_step) step = { 0 };
	char size[24];
	int r = 0;

	progress_begin(&step, progress, "unpacking %s", what);
	for (uint32_t i = 0; i < a->index.n_files; i++)
		step.total_bytes += fds[i] >= 0 ? a->index.files[i].bytes : 0;
	for (uint32_t i = 0; r == 0 && i < a->index.n_files; i++) {
		const struct index_file *file = &a->index.files[i];
		if (fds[i] < 0)
			continue;
		for (uint32_t k = 0; k < file->n_parts; k++)
			*ret_moved += a->index.parts[file->first_part + k].bytes;
		r = artifact_unpack(a, file, fds[i], &step, err);
	}
	if (r < 0)
		return r;
	str_bytes(step.total_bytes, size, sizeof(size));
	progress_end(&step, "%s", size);
	return 0;
}

/* Fill the needed files. */
static int fill_files(struct receipt *c, struct mvm_error *err)
{
	AUTO_FREE char *what = str_printf("%s@%.12s", c->how->id, c->rev.revision_hash);
	int r = 0;

	if (!what)
		return mvm_error_oom(err);
	if (c->how->fill)
		r = c->how->fill(c->how->arg, c->a, c->fds, c->result, err);
	else
		r = artifact_unpack_files(c->a, c->fds, what, c->progress, &c->result->moved_bytes,
					  err);
	return r;
}

/* A file that was filled is stored, or belongs to the snapshot. */
static int take_file(struct receipt *c, const struct index_file *file, struct mvm_error *err)
{
	struct mvm_digest digest;
	bool of_snapshot = !artifact_lists(artifact_image_files, file->name);

	if (of_snapshot)
		c->files[c->n_files++] = (struct mvm_artifact){ file->name, file->digest };
	/* VMMs read a snapshot's own image, too, and mostly another revision has the same one */
	if (of_snapshot && !str_eq(file->name, OWN_IMAGE_PATH))
		return 0;
	int r = store_blob_take(c->mvm->store, c->staging.fd, file->name, &digest, NULL, err);
	if (r >= 0 && !digest_equal(&digest, &file->digest))
		r = mvm_error_set(err, -EBADMSG, "'%s' is damaged: it does not have its digest",
				  file->name);
	return r < 0 ? r : 0;
}

/* Add what this host knows its large files by. */
static int add_identities(const struct receipt *c, struct strv *compat, struct mvm_error *err)
{
	static const struct {
		const char *fact, *name;
	} files[] = {
		{ FACT_MEM_FILE, "snapshot/mem.bin" },
		{ FACT_DATA_FILE, "snapshot/data.ext4" },
		{ FACT_ROOT_FILE, "snapshot/root.ext4" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(files); i++) {
		AUTO_FREE char *identity = NULL;
		AUTO_CLOSE int fd = openat(c->staging.fd, files[i].name,
					   O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
		if (fd < 0 && errno == ENOENT)
			continue;
		int r = fd < 0 ? -errno : memory_file_identity(fd, &identity);
		if (r < 0)
			return mvm_error_set(err, r, "'%s': %s", files[i].name, strerror(-r));
		strv_addf(compat, "%s=%s", files[i].fact, identity);
	}
	return 0;
}

static int describe_snapshot(const struct receipt *c, struct mvm_snapshot_info *ret,
			     struct mvm_error *err)
{
	char digest[DIGEST_TEXT_SIZE];
	AUTO_DONE(strv) compat = { 0 };
	bool failed = false;

	int r = mvm_snapshot_info_copy(&c->rev.snapshot, ret, err);
	for (size_t i = 0; r == 0 && i < ret->compat.n; i++) {
		if (!artifact_fact_is_local(ret->compat.v[i]))
			strv_add(&compat, ret->compat.v[i]);
	}
	if (r == 0)
		r = add_identities(c, &compat, err);
	digest_text(&c->a->manifest.digest, digest);
	strv_addf(&compat, FACT_HOST "=%s", digest);
	ret->origin = str_dup(digest, &failed);
	ret->signed_by = str_dup(c->how->signed_by, &failed);
	if (r == 0 && (failed || compat.failed))
		r = mvm_error_oom(err);
	if (r < 0)
		return r;
	mvm_strings_done(&ret->compat);
	ret->compat = (struct mvm_strings){ .v = compat.v, .n = compat.n };
	compat = (struct strv){ 0 };
	return 0;
}

/* Show the revision to whoever uses it while its files come. */
static int show(struct receipt *c, struct mvm_error *err)
{
	AUTO_DONE(mvm_snapshot_info) info = { 0 };
	struct mvm_artifact files[PUBLISH_SNAPSHOT_FILES];
	struct publish_snapshot coming = { .dir_fd = -1, .info = &info, .files = files };

	for (uint32_t i = 0; i < c->a->index.n_files; i++) {
		const struct index_file *file = &c->a->index.files[i];
		if (!artifact_lists(artifact_image_files, file->name))
			files[coming.n_files++] = (struct mvm_artifact){ file->name, file->digest };
	}
	int r = describe_snapshot(c, &info, err);
	if (r == 0)
		r = store_stage(c->mvm->store, &c->view, err);
	if (r == 0)
		r = publish_view(c->mvm, &c->spec, &c->artifacts, &coming, c->rev.revision_hash,
				 c->view.fd, err);
	const struct artifact_staged staged = { .files_fd = c->staging.fd,
						.view_fd = c->view.fd,
						.rev = &c->rev };
	return r < 0 ? r : c->how->staged(c->how->arg, &staged, err);
}

static int publish(struct receipt *c, struct mvm_error *err)
{
	struct mvm_build_result built = { 0 };
	AUTO_DONE(mvm_snapshot_info) info = { 0 };
	const struct publish_snapshot snapshot = {
		.dir_fd = c->staging.fd,
		.info = &info,
		.files = c->files,
		.n_files = c->n_files,
	};

	int r = c->with_snapshot ? describe_snapshot(c, &info, err) : 0;
	if (r == 0)
		r = progress_check(c->progress, err);
	if (r < 0)
		return r;
	snprintf(built.revision, sizeof(built.revision), "%s", c->rev.revision_hash);
	r = publish_revision(c->mvm, &c->spec, &c->artifacts, c->with_snapshot ? &snapshot : NULL,
			     c->is_new ? PUBLISH_TEMPLATE : 0, c->progress, &built, err);
	c->result->new_revision = built.new_revision;
	c->result->new_snapshot = c->with_snapshot;
	return r;
}

static int take_files(struct receipt *c, struct mvm_error *err)
{
	int r = store_stage(c->mvm->store, &c->staging, err);
	if (r < 0)
		return r;
	link_known(c);
	r = make_files(c, err);
	if (r == 0 && c->how->staged && c->with_snapshot && c->how->signed_by)
		r = show(c, err);
	if (r == 0)
		r = fill_files(c, err);
	for (uint32_t i = 0; r == 0 && i < c->a->index.n_files; i++) {
		if (c->fds[i] >= 0)
			r = take_file(c, &c->a->index.files[i], err);
	}
	return r;
}

static int publish_locked(struct receipt *c, struct mvm_error *err)
{
	AUTO_DONE(revision) here = REVISION_NONE;
	AUTO_CLOSE int lock_fd = template_lock(c->mvm, c->how->id, "import", c->how->no_wait,
					       c->progress, err);
	if (lock_fd < 0)
		return lock_fd;
	int r = store_template_exists(c->mvm->store, c->how->id, err);
	if (r < 0)
		return r;
	c->is_new = r == 0;
	c->with_snapshot = c->with_snapshot && wants_snapshot(c); /* one may have been made */
	r = publish(c, err);
	if (r == 0 && revision_look(c->mvm, c->how->id, c->rev.revision_hash, &here, NULL) == 0)
		c->result->has_snapshot = here.rev.has_snapshot;
	return r;
}

/* Everything is fetched and unpacked before the template's lock is taken. */
static int receive(struct receipt *c, struct mvm_error *err)
{
	int r = read_config(c, err);
	if (r < 0)
		return r;
	note_rules(c);
	c->with_snapshot = wants_snapshot(c);
	r = take_files(c, err);
	return r < 0 ? r : publish_locked(c, err);
}

int artifact_receive(struct mvm *mvm, const struct artifact *a, const struct artifact_receive *how,
		     const struct mvm_progress *progress, struct mvm_artifact_result *result,
		     struct mvm_error *err)
{
	AUTO_DONE(receipt) c = { .mvm = mvm,
				 .a = a,
				 .how = how,
				 .progress = progress,
				 .result = result,
				 .staging = STAGING_NONE,
				 .view = STAGING_NONE };

	memset(c.fds, -1, sizeof(c.fds));
	int r = receive(&c, err);
	if (r < 0)
		return store_mend(mvm->store, r, err);
	for (uint32_t i = 0; i < a->index.n_files; i++)
		result->file_bytes += a->index.files[i].bytes;
	for (uint32_t i = 0; i < a->index.n_parts; i++)
		result->blob_bytes += a->index.parts[i].bytes;
	digest_text(&a->manifest.digest, result->digest);
	snprintf(result->signed_by, sizeof(result->signed_by), "%s",
		 how->signed_by ? how->signed_by : "");
	snprintf(result->template_id, sizeof(result->template_id), "%s", how->id);
	snprintf(result->revision, sizeof(result->revision), "%s", c.rev.revision_hash);
	return 0;
}
