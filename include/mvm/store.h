/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_STORE_H
#define MVM_STORE_H

/* The templates in a data folder. */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/progress.h>
#include <mvm/template.h>

enum mvm_apply_result {
	MVM_APPLY_UNCHANGED,
	MVM_APPLY_CREATED,
	MVM_APPLY_UPDATED,
};

/*
 * Check every variant's settings before a build: names, machine size, disk, run settings.  Reading
 * a config is more lenient: it only applies the ranges of the format.
 *
 * Returns 0, or -EINVAL naming the template and what is wrong with it.
 */
MVM_API int mvm_template_config_check(const struct mvm_template_config *config,
				      struct mvm_error *err);

/*
 * Create a variant's template, or update an existing one, even a damaged one, to match the variant.
 * Nothing is built.  A variant that mvm_template_config_check() would refuse is not stored.
 *
 *   config, variant  as loaded; the variant is one of the config's
 *   no_wait          -EBUSY naming the holder when the template must change but is locked, for
 *                    example by a build
 *   progress         gets a note naming the lock's holder; may be NULL
 *
 * Returns enum mvm_apply_result.  Errors: -EINVAL naming the wrong setting, -EBUSY (no_wait),
 * -EOPNOTSUPP (a newer mvm wrote the existing template), -ECANCELED.  After a crash the template is
 * the old one or the new one.
 */
MVM_API int mvm_template_apply(struct mvm *mvm, const struct mvm_template_config *config,
			       const struct mvm_template_variant *variant, bool no_wait,
			       const struct mvm_progress *progress, struct mvm_error *err);

/*
 * Create a template from settings.  Nothing is built.
 *
 *   id        of the new template
 *   settings  n_settings of them; flake_ref is required, the others have the defaults of
 *             template.toml.  A relative flake_ref counts from the working folder.  Borrowed
 *   force     replace a template of that id, a damaged one too; its revisions and created_at stay
 *   progress  gets a note naming the lock's holder; may be NULL
 *
 * Returns MVM_APPLY_CREATED or, with force, MVM_APPLY_UPDATED.
 * Errors: -EEXIST, -EINVAL naming the wrong setting, -EOPNOTSUPP (a newer mvm wrote the existing
 * template).
 */
MVM_API int mvm_template_create(struct mvm *mvm, const char *id,
				const struct mvm_template_setting *settings, size_t n_settings,
				bool force, const struct mvm_progress *progress,
				struct mvm_error *err);

/* The id of a base's template for a role, "<base>-<role>"; free(3) it.  -EINVAL, naming the role,
 * when the result is no valid id. */
MVM_API int mvm_template_role_id(const char *base, const char *role, char **ret,
				 struct mvm_error *err);

/* Names of the presets of mvm_template_init(), the default one first; ends with NULL.  Static. */
MVM_API const char *const *mvm_template_presets(void);

/*
 * Write a commented template.toml to start from, and the files of its source.
 *
 *   dir        created if it is missing; templates get their name from it
 *   preset     NULL: the default one
 *   ret_files  paths in dir of the written files; mvm_strings_done() it; may be NULL
 *
 * Every preset contains a static busybox, which is copied from this host.
 * After a failure, such as a full disk, none of these files stays.
 * Errors: -EEXIST naming an existing file, -EINVAL (no such preset), -ENOENT (no static busybox
 * here), -ENOSPC and others.
 */
MVM_API int mvm_template_init(const char *dir, const char *preset, struct mvm_strings *ret_files,
			      struct mvm_error *err);

/*
 * Change settings of a template.  All others stay, also keys that this version does not know.
 *
 *   settings  n_settings of them, each key once.  "env" adds or replaces single variables.  The
 *             keys of "health" with values replace the whole health check.  NULL as values resets
 *             a key ("health": all of its keys) to its default; "flake_ref" has none.  Borrowed
 *   progress  gets a note naming the lock's holder; may be NULL
 *
 * Returns 1 if something changed, 0 if the template had these settings already.
 * Errors: -ENOENT, -EINVAL (the result would be no valid template; nothing changes).
 */
MVM_API int mvm_template_edit(struct mvm *mvm, const char *id,
			      const struct mvm_template_setting *settings, size_t n_settings,
			      const struct mvm_progress *progress, struct mvm_error *err);

/*
 * Remove a template with all its revisions, in one rename.
 *
 * Works for damaged templates too.  The next prune removes the blobs that nothing else uses.
 * Errors: -ENOENT; -EBUSY, naming the revision, while a VM runs from it; -EEXIST, naming it, when
 * the folder has something that mvm did not make: then the template stays.
 */
MVM_API int mvm_template_delete(struct mvm *mvm, const char *id,
				const struct mvm_progress *progress, struct mvm_error *err);

/* Is there a template of this id, whole or damaged?  1 or 0; -EINVAL: it cannot be an id. */
MVM_API int mvm_template_exists(struct mvm *mvm, const char *id, struct mvm_error *err);

/* One line of a listing. */
struct mvm_template_summary {
	const char *template_id;
	const char *problem; /* why it cannot be read; the rest is not set then.  NULL: readable */
	int problem_code;    /* a negative errno: -EBADMSG damaged, -EOPNOTSUPP from a newer mvm */
	const char *role, *profile;
	uint8_t vcpus;
	uint32_t mem_mib, data_disk_mib;
	const char *revision; /* current; NULL when nothing has been built */
	int64_t built_at;
	uint64_t rootfs_bytes;
	bool has_snapshot;
	uint64_t snapshot_mem_bytes;
	uint32_t root_disk_mib;
};

/* The summary is valid during the call.  Returns 0 to go on; anything else ends the listing. */
typedef int (*mvm_template_fn)(void *arg, const struct mvm_template_summary *summary);

/*
 * Call fn with every template, by id.
 *
 * The data folder has an index of the summaries (cache/templates.index).  An entry is used until
 * the template's files change.  Without the index the listing only takes longer.  It waits for no
 * lock; fn may end it between two templates.
 *
 * Returns 0, what fn returned, or a negative errno.
 */
MVM_API int mvm_template_list(struct mvm *mvm, mvm_template_fn fn, void *arg,
			      struct mvm_error *err);

/* What a start would do with a revision on this host. */
enum mvm_start_outlook {
	MVM_START_IMPOSSIBLE,
	MVM_START_WOULD_BOOT,
	MVM_START_WOULD_RESTORE,
};

/* The outlook as it appears in JSON: "none", "boot" or "restore".  Static. */
MVM_API const char *mvm_start_outlook_name(enum mvm_start_outlook start);

/* A template and one of its revisions.  The library makes these, and later versions may append
 * members; the struct owns its strings and lists. */
struct mvm_template_details {
	char *template_id, *flake_ref, *profile, *role;
	unsigned vcpus;
	uint32_t mem_mib, data_disk_mib;
	int64_t created_at, updated_at;
	struct mvm_template_setting *settings; /* how to run the workload: set keys, by name */
	size_t n_settings;

	char *revision; /* NULL: nothing was built yet, and all members below are empty */
	bool is_current;
	int64_t built_at;
	char *builder; /* "dir", "tar", "oci", "nix", "commit"; NULL when another program built
			* it */
	char *built_from, *lock;
	char cache_key[MVM_CACHE_KEY_SIZE];
	unsigned built_vcpus;
	uint32_t built_mem_mib, built_data_disk_mib;
	uint64_t rootfs_bytes, vmlinux_bytes, initrd_bytes;
	uint64_t disk_bytes; /* disk use of its files, shared ones included */
	bool has_snapshot;
	int64_t snapshot_at;
	uint64_t snapshot_mem_bytes; /* apparent size */
	uint64_t snapshot_state_bytes;
	bool kind_is_snapshot; /* on this host's backend */
	enum mvm_start_outlook start;
	char *backend;	    /* NULL: none is usable */
	char *start_reason; /* why a start would not restore it, or would fail; NULL: none */
	/* A file that was edited, replaced or copied, by its times.  The next start reads it first,
	 * and refuses it if its contents have changed.  NULL: none is known. */
	char *changed_file;
	/* of a revision by mvm_template_commit(): the VM's name, and the revision that it ran; else
	 * NULL */
	char *instance, *base;
	uint32_t root_disk_mib, built_root_disk_mib;
	/* fingerprint of the trusted key that had signed the artifact with the snapshot; NULL: it
	 * was made here, or nobody has signed it */
	char *snapshot_signed_by;
};
MVM_API void mvm_template_details_free(struct mvm_template_details *details); /* NULL is fine */

/*
 * Look a template up.
 *
 *   ref       "ID" (its current revision, if there is one) or "ID@REVISION"
 *   progress  may stop it while a backend's program is asked for its version; may be NULL
 *   ret       mvm_template_details_free() it
 *
 * A revision without checksums.json is shown too; its `start_reason` says that it cannot start.
 * Waits for no lock, and reads none of the large files.
 * Errors: -ENOENT, -EBADMSG naming the damaged file and key, -ECANCELED.
 */
MVM_API int mvm_template_details(struct mvm *mvm, const char *ref,
				 const struct mvm_progress *progress,
				 struct mvm_template_details **ret, struct mvm_error *err);

/*
 * Describe one template or revision as JSON.
 *
 *   ref       "ID" or "ID@REVISION"
 *   progress  as in mvm_template_details()
 *   ret_json  what `mvm template info --json` prints (doc/cli-json.md); free(3) it
 *
 * Errors: as mvm_template_details().
 */
MVM_API int mvm_template_info(struct mvm *mvm, const char *ref, const struct mvm_progress *progress,
			      char **ret_json, struct mvm_error *err);

/* A backend and its abilities on this host. */
struct mvm_backend_info {
	const char *name;
	bool usable;
	char *reason; /* why not, and what to do; NULL if usable */
	char *binary; /* NULL if not found */
	char *version;
	const char *accelerator;
	char *accelerator_reason;
	bool snapshots, pause, network, shared_memory;
	const char *agent_transport;
	const char *mend; /* how to make it usable; NULL if all is well, or if a reason says it */
	/* in place of `mend`: the reason of an error (mvm/error.h); NULL: none */
	const char *mend_reason;
};
MVM_API void mvm_backend_info_free(struct mvm_backend_info *info);

/* All backends in order of preference; mvm_backend_list_free() the list.  progress may stop it
 * while a program is asked for its version, for half a minute at most: -ECANCELED; may be NULL. */
MVM_API int mvm_backend_list(struct mvm *mvm, const struct mvm_progress *progress,
			     struct mvm_backend_info ***ret, size_t *ret_n, struct mvm_error *err);
MVM_API void mvm_backend_list_free(struct mvm_backend_info **list, size_t n);

#endif
