/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_BUILD_H
#define MVM_BUILD_H

/* Building templates: from a spec to a published revision, and to the snapshot beside it. */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/struct.h>
#include <mvm/template.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct mvm_build_options {
	size_t size;	     /* MVM_BUILD_OPTIONS_INIT sets it (mvm/struct.h) */
	bool snapshot;	     /* also boot it, wait until it is healthy, capture it */
	bool force;	     /* ignore the build cache; make a new snapshot although there is one */
	bool no_wait;	     /* -EBUSY instead of waiting for a build of this template or source */
	const char *backend; /* for the snapshot; NULL: the first usable one */
	bool dry_run;	     /* change nothing, fill the result with what would happen */
	/* limit for an image's archives once unpacked, all together; 0: 64 GiB, and no more than
	 * 256 times their size or, if that is more, 1 GiB.  A limit given here holds for an image
	 * in the build cache, too */
	uint64_t max_image_bytes;
	/* Nix flakes on this machine; no effect on other sources */
	bool allow_pre_build; /* run pre-build.sh beside flake.nix; such a build is never cached */
	/* write the hashes that Nix finds into flake.nix.  This thread's SIGHUP, SIGINT and SIGTERM
	 * are held back until the file is restored */
	bool update_hash;
};
#define MVM_BUILD_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_build_options)

/* One step of making a snapshot.  In order: "boot", "prepare" (the guest), "state" (of the
 * devices), "memory", "digests", "test", "publish". */
struct mvm_snapshot_step {
	const char *name; /* static */
	int64_t ns;
	uint64_t bytes; /* written to disk; "test": read ahead by later restores */
};
#define MVM_SNAPSHOT_STEPS_MAX 8
#define MVM_BUILD_WHY_SIZE     160

struct mvm_build_result {
	size_t size; /* MVM_BUILD_RESULT_INIT sets it (mvm/struct.h) */
	char template_id[MVM_TEMPLATE_ID_SIZE];
	char revision[MVM_REVISION_SIZE]; /* "" in a dry run that cannot know it without building */
	char cache_key[MVM_CACHE_KEY_SIZE];
	bool cached;	   /* the build cache had the artifacts */
	bool new_revision; /* this build published it; false: it existed already */
	bool has_snapshot; /* on return */
	bool new_snapshot; /* this build made it */
	uint64_t rootfs_bytes;
	uint64_t snapshot_mem_bytes;  /* apparent size */
	uint64_t snapshot_disk_bytes; /* disk use of the memory file */
	int64_t build_ns, snapshot_ns;
	struct mvm_snapshot_step snapshot_steps[MVM_SNAPSHOT_STEPS_MAX]; /* of a new snapshot */
	size_t n_snapshot_steps;
	char why[MVM_BUILD_WHY_SIZE]; /* in a dry run: why it would build, or need not */
};
#define MVM_BUILD_RESULT_INIT MVM_STRUCT_INIT(struct mvm_build_result)

/*
 * Build a template's next revision and make it current.
 *
 *   id        an existing template (mvm_template_apply)
 *   options   borrowed; NULL: all defaults
 *   progress  steps and notes; may be NULL
 *   ret       the result; may be NULL
 *
 * The same inputs give the same revision, which is then not published again.  When only the
 * snapshot fails, the revision stays published and the error is returned.
 *
 * Errors: -ENOENT (no such template, source or kernel), -EINVAL (source or spec is wrong),
 * -EBUSY (no_wait), -EOPNOTSUPP (this host cannot build or snapshot that), -ETIMEDOUT (the
 * guest did not become healthy; the text ends with its last console lines), -EFBIG (over
 * max_image_bytes or another limit), -ENOSPC.
 * After a crash `current` is the old revision or the new one, and the next build works.
 */
MVM_API int mvm_template_build(struct mvm *mvm, const char *id,
			       const struct mvm_build_options *options,
			       const struct mvm_progress *progress, struct mvm_build_result *ret,
			       struct mvm_error *err);

struct mvm_snapshot_options {
	size_t size;	     /* MVM_SNAPSHOT_OPTIONS_INIT sets it (mvm/struct.h) */
	bool remove;	     /* remove the snapshot instead of making one */
	bool no_wait;	     /* -EBUSY instead of waiting for this template's lock */
	const char *backend; /* makes the snapshot; NULL: the first usable one */
};
#define MVM_SNAPSHOT_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_snapshot_options)

/*
 * Add a snapshot to an existing revision, or replace or remove its snapshot.  Builds nothing.
 *
 *   ref      "ID" (its current revision) or "ID@REV"
 *   options  borrowed; NULL: all defaults
 *   ret      has_snapshot, new_snapshot and the members after them, as mvm_template_build() sets
 *            them; may be NULL
 *
 * One rename exchanges the whole revision.  VMs that run from the old snapshot go on.  After a
 * crash the revision is the old one or the new one.  Returns 1, or 0 when there was nothing to
 * remove.
 *
 * Errors: -ENOENT (no such revision), -EBUSY (no_wait), -EOPNOTSUPP (this host cannot make one),
 * -ETIMEDOUT (the guest did not become healthy), -ENOSPC.
 */
MVM_API int mvm_template_snapshot(struct mvm *mvm, const char *ref,
				  const struct mvm_snapshot_options *options,
				  const struct mvm_progress *progress, struct mvm_build_result *ret,
				  struct mvm_error *err);

struct mvm_commit_options {
	size_t size;	     /* MVM_COMMIT_OPTIONS_INIT sets it (mvm/struct.h) */
	bool snapshot;	     /* with a snapshot: of its memory, else of a boot, as a build does */
	bool no_wait;	     /* -EBUSY instead of waiting for the template's lock */
	const char *backend; /* for the snapshot; NULL: the first usable one */
	uint64_t max_bytes;  /* that the guest's root may take as a tar; 0: 64 GiB */
};
#define MVM_COMMIT_OPTIONS_INIT MVM_STRUCT_INIT(struct mvm_commit_options)

/*
 * Make a revision of a running instance's root file system, and make it current.
 *
 *   instance  its name
 *   id        a template; one that does not exist is made, with the settings of the revision that
 *             the instance runs and the flake_ref "commit:ID@REVISION" of that revision
 *   options   borrowed; NULL: all defaults
 *   progress  steps and notes; may be NULL
 *   ret       as for mvm_template_build(); may be NULL
 *
 * The guest's processes are frozen while its files are read, and run on afterwards.  The revision
 * has the kernel and initrd of the revision that the instance runs, and the template's settings;
 * a command, variables, folder, user and stop signal that the template leaves out are those of that
 * revision.  Its image has no volume, no data disk, and nothing that mvm writes into guests
 * (/etc/hostname, hosts, machine-id, resolv.conf): these are the image's.  The same files give the
 * same revision.  A snapshot has the memory and the disks of the moment after; where that cannot be
 * (doc/templates.md says when), a note says why and the revision is booted for it.
 * A suspended instance is resumed for this and suspended again.
 *
 * Errors: -ENOENT (no such instance), -EBUSY (the instance has ended, is paused, or is being
 * started, stopped or committed; no_wait), -EOPNOTSUPP (its guest has no agent, or an older one),
 * -EFBIG, -ENOSPC, -EBADMSG or -EINVAL (the guest's stream is damaged, or has what no image can
 * have), -ECANCELED, those of mvm_instance_resume(), and those of the snapshot, which leave the
 * revision published. After a failure or a crash the instance runs on and the template is as
 * before.  A crash in the moment of publication may leave a new template without a revision.
 */
MVM_API int mvm_template_commit(struct mvm *mvm, const char *instance, const char *id,
				const struct mvm_commit_options *options,
				const struct mvm_progress *progress, struct mvm_build_result *ret,
				struct mvm_error *err);

/*
 * Get the template of an image in a registry: find it, or create it and build it with a snapshot.
 *
 *   image     "docker://debian:12"; the scheme may be missing
 *   options   max_image_bytes and backend count, and force: build again, as the tag may have moved.
 *             Borrowed; NULL: all defaults
 *   progress  steps and notes; may be NULL
 *   ret_id    the template, as in "debian-12"; free(3) it.  If that name has another source, digits
 *             of a hash follow
 *
 * The template has the defaults, and snapshot.point "boot".  A new template for which nothing could
 * be built is removed again.  A snapshot that is missing is made, also later.  Where that fails, a
 * note says so, and the template boots.  If the image was at fault, this tries no more for that
 * revision, since a try costs a boot: only force and mvm_template_snapshot() do.  Once it was
 * built, this asks no registry, except with force.  Returns 1 if it built, 0 if the template was
 * there.
 *
 * Errors: -EINVAL (no image's name), -EOPNOTSUPP with the reason "image-is-template" (it is the
 * artifact of a template: see mvm_template_of_artifact()), and as mvm_template_build().
 */
MVM_API int mvm_template_of_image(struct mvm *mvm, const char *image,
				  const struct mvm_build_options *options,
				  const struct mvm_progress *progress, char **ret_id,
				  struct mvm_error *err);

/*
 * Dry-run the build of a config's variant, whether or not it was applied.
 *
 *   options   borrowed; dry_run is implied; NULL: all defaults
 *   progress  of reading the source; may be NULL
 *   ret       as for mvm_template_build()
 *
 * Changes nothing.  Errors: as mvm_template_build().
 */
MVM_API int mvm_template_build_variant_plan(struct mvm *mvm,
					    const struct mvm_template_config *config,
					    const struct mvm_template_variant *variant,
					    const struct mvm_build_options *options,
					    const struct mvm_progress *progress,
					    struct mvm_build_result *ret, struct mvm_error *err);

#endif
