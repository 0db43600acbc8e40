/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MODEL_TEMPLATE_H
#define MODEL_TEMPLATE_H

/*
 * The data model of templates: the user's config (TemplateConfig, TOML), the stored settings
 * (TemplateSpec, template.json), a build's result (TemplateRevision, revision.json) and its
 * optional snapshot (SnapshotInfo).
 *
 * Plain structs.  Zero is a valid empty value for each.  A struct owns its strings and lists; they
 * are NULL when not set.  mvm_<what>_done() frees the contents, accepts an empty or half-filled
 * struct and leaves it empty.  Parsing sets the result only on success.  Functions that can fail
 * return 0 or more, or a negative errno and fill err (see mvm/error.h), which may be NULL.
 *
 * Members named `other` keep the keys of a JSON object that this version does not know, so that
 * they survive a rewrite of the object.  They are opaque.
 *
 * Times are seconds since 1970; files have them as RFC 3339, UTC.
 */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include <mvm/digest.h>
#include <mvm/error.h>
#include <mvm/template.h>

struct json_t;

#define MVM_SCHEMA_VERSION 1u

enum mvm_network {
	MVM_NETWORK_UNSET, /* as MVM_NETWORK_USER */
	MVM_NETWORK_NONE,
	MVM_NETWORK_USER,
};

/* The initrd that boots the guest: mvm's own, which has the agent, or the image's. */
enum mvm_initrd {
	MVM_INITRD_UNSET, /* as MVM_INITRD_MVM */
	MVM_INITRD_MVM,
	MVM_INITRD_IMAGE, /* no agent, so no commands, health checks or snapshots */
};

/* How far a guest is when its snapshot is taken. */
enum mvm_snapshot_point {
	MVM_POINT_UNSET,   /* as MVM_POINT_HEALTHY */
	MVM_POINT_BOOT,	   /* all but the workload is up: each clone starts its own */
	MVM_POINT_HEALTHY, /* the workload runs and is healthy: clones go on with it */
};

enum mvm_health_kind {
	MVM_HEALTH_AGENT, /* healthy when the agent answers */
	MVM_HEALTH_EXEC,  /* healthy when a command in the guest exits with 0 */
	MVM_HEALTH_HTTP,  /* healthy when a URL, asked in the guest, answers with 2xx or 3xx */
	MVM_HEALTH_TCP,	  /* healthy when a port in the guest accepts connections */
};

#define MVM_HEALTH_INTERVAL_MS 200u
#define MVM_HEALTH_TIMEOUT_S   60u
#define MVM_HEALTH_RETRIES     3u

struct mvm_health {
	bool set; /* the template sets a health check */
	enum mvm_health_kind kind;
	struct mvm_strings exec; /* MVM_HEALTH_EXEC */
	char *http;		 /* MVM_HEALTH_HTTP; http://... */
	uint16_t tcp;		 /* MVM_HEALTH_TCP */
	uint32_t interval_ms;	 /* 0: MVM_HEALTH_INTERVAL_MS */
	uint32_t timeout_s;	 /* 0: MVM_HEALTH_TIMEOUT_S */
	uint32_t retries;	 /* failures in a row that make it unhealthy; 0: the default */
	uint32_t start_grace_s;	 /* failures within this time of the start do not count */
	struct json_t *other;
};

/* How to run the workload.  Unset members come from the image or the defaults. */
struct mvm_run {
	struct mvm_strings command; /* argument vector */
	struct mvm_strings env;	    /* "NAME=value" */
	char *workdir;		    /* absolute, in the guest; from images */
	char *user;		    /* "name", "uid", "uid:gid"; from images */
	uint32_t stop_signal;	    /* sent by a stop; 0: SIGTERM; from images */
	enum mvm_network network;
	/* the network's rules (model/policy.h), and the addresses of name servers */
	struct mvm_strings allow, deny, dns;
	uint32_t rate_mib, rate_packets; /* that may pass in a second; 0: the default */
	enum mvm_initrd initrd;
	char *kernel;	 /* name of an imported kernel (mvm/kernel.h) */
	char *boot_args; /* added to the default kernel arguments */
	struct mvm_health health;
	struct mvm_strings on_restore; /* argument vector run in every clone */
	/* or what happens to the workload there: "restart", or "signal:USR1"; NULL: nothing */
	char *restore_action;
	enum mvm_snapshot_point snapshot_point;
	struct json_t *other;
};

void mvm_run_done(struct mvm_run *run);

/* Replace *ret by a deep copy.  Returns 0 or -ENOMEM. */
int mvm_run_copy(const struct mvm_run *run, struct mvm_run *ret, struct mvm_error *err);

/* Is no setting set? */
bool mvm_run_empty(const struct mvm_run *run);

/* ---- TemplateConfig: template.toml ---- */

struct mvm_template_variant {
	char *name; /* the variant's own, or <template_id>-<role> */
	char *role;
	char *profile; /* the variant's own, or the config's */
	uint8_t vcpus;
	uint32_t mem_mib;
	uint32_t data_disk_mib;
	uint32_t root_disk_mib;
	struct mvm_run run; /* each setting: the variant's own, or the config's */
};

struct mvm_template_config {
	char *template_id; /* NULL when not set */
	char *flake_ref;   /* absolute */
	char *profile;
	struct mvm_run run; /* the defaults */
	struct mvm_template_variant *variants;
	size_t n_variants;
};

/*
 * Read a config file.
 *
 *   path          the file; at most 10 MB.  A relative flake_ref counts from its folder
 *   flags         enum mvm_template_config_flags
 *   ret           config_done() it
 *   ret_warnings  sentences about unknown keys, with file and line; mvm_strings_done() it; may be
 *                 NULL.  Set on failure too: an unknown key may be the misspelt form of a missing
 *                 one
 *
 * Errors: -ENOENT and others from reading, -EINVAL with file, line and key, -EFBIG.
 */
int config_load(const char *path, unsigned flags, struct mvm_template_config *ret,
		struct mvm_strings *ret_warnings, struct mvm_error *err);

/*
 * config_load() from memory.
 *
 *   name      of the text, for error messages
 *   base_dir  absolute path that a relative flake_ref counts from
 */
int config_parse(const char *text, size_t len, const char *name, const char *base_dir,
		 unsigned flags, struct mvm_template_config *ret, struct mvm_strings *ret_warnings,
		 struct mvm_error *err);

void config_done(struct mvm_template_config *config);

/* ---- TemplateSpec: template.json ---- */

struct mvm_template_spec {
	uint32_t schema_version;
	char *template_id;
	char *flake_ref;
	char *profile;
	char *role;
	uint8_t vcpus;
	uint32_t mem_mib;
	uint32_t data_disk_mib;
	uint32_t root_disk_mib;
	int64_t created_at;
	int64_t updated_at;
	struct mvm_run run;
	struct json_t *other;
};

/* The spec of one variant of a config, created and updated at `now`.  Deep copies. */
int mvm_template_spec_from_variant(const struct mvm_template_config *config,
				   const struct mvm_template_variant *variant, int64_t now,
				   struct mvm_template_spec *ret, struct mvm_error *err);

/*
 * Read the text of a template.json.
 *
 *   text  len bytes; need not end with a NUL
 *   name  of the text, for error messages
 *   ret   mvm_template_spec_done() it
 *
 * Times may have offsets and fractions of a second; fractions are dropped.
 * Errors: -EBADMSG with the key when it is damaged, -EOPNOTSUPP when a newer mvm wrote it, -EFBIG.
 */
int mvm_template_spec_parse(const char *text, size_t len, const char *name,
			    struct mvm_template_spec *ret, struct mvm_error *err);

/* Write the text of a template.json; free(3) *ret.  -EINVAL: a string is not UTF-8. */
int mvm_template_spec_format(const struct mvm_template_spec *spec, char **ret,
			     struct mvm_error *err);

void mvm_template_spec_done(struct mvm_template_spec *spec);

/* Can mvm build and run a machine of this size?  -EINVAL naming the size that is wrong. */
int mvm_machine_check(unsigned vcpus, uint32_t mem_mib, struct mvm_error *err);

/* ---- SnapshotInfo ---- */

struct mvm_snapshot_info {
	int64_t created_at;
	uint64_t vmstate_size_bytes;
	uint64_t mem_size_bytes; /* apparent size */
	char *boot_args;	 /* the whole kernel command line */
	uint8_t vcpus;
	uint32_t mem_mib;
	struct mvm_strings compat; /* "key=value", in order: properties a restore must match */
	char *origin;	 /* the artifact that it came with, "sha256:..."; NULL: made here */
	char *signed_by; /* fingerprint of the key that signed that artifact; NULL: none */
	struct json_t *other;
};

/* Read and write it as mvm_template_spec_parse() and mvm_template_spec_format() do. */
int mvm_snapshot_info_parse(const char *text, size_t len, const char *name,
			    struct mvm_snapshot_info *ret, struct mvm_error *err);
int mvm_snapshot_info_format(const struct mvm_snapshot_info *info, char **ret,
			     struct mvm_error *err);

/* Replace *ret by a deep copy.  Returns 0 or -ENOMEM. */
int mvm_snapshot_info_copy(const struct mvm_snapshot_info *info, struct mvm_snapshot_info *ret,
			   struct mvm_error *err);
void mvm_snapshot_info_done(struct mvm_snapshot_info *info);

/* The value of a compat key, or NULL. */
const char *mvm_snapshot_info_compat(const struct mvm_snapshot_info *info, const char *key);

/* ---- TemplateRevision: revision.json ---- */

struct mvm_artifact_sizes {
	bool present;
	uint64_t vmlinux_bytes;
	uint64_t rootfs_bytes;
	uint64_t initrd_bytes;
	uint64_t nix_closure_bytes;
	struct json_t *other;
};

/* Names of files in the revision's folder.  Other programs may have written any path: check with
 * mvm_artifact_name_valid() before opening. */
struct mvm_artifact_paths {
	char *vmlinux;
	char *rootfs;
	char *fc_base_config;
	char *initrd; /* NULL when there is none */
	struct mvm_artifact_sizes sizes;
	struct json_t *other;
};

/* How a revision came to be. */
struct mvm_build_info {
	char *builder;		  /* "dir", "tar", "oci", "nix", "commit" */
	char *source_fingerprint; /* the source's key in the build cache */
	char *attribute;	  /* Nix attribute; NULL for other builders */
	char *mvm_version;
	/* of a commit: the instance, and the revision that it ran, "ID@REVISION"; else NULL */
	char *instance, *base;
	struct json_t *other;
};

struct mvm_template_revision {
	uint32_t schema_version;
	char *revision_hash;
	char *flake_ref;
	char *flake_lock_hash;
	struct mvm_artifact_paths artifact_paths;
	int64_t built_at;
	char *profile;
	char *role;
	uint8_t vcpus;
	uint32_t mem_mib;
	uint32_t data_disk_mib;
	uint32_t root_disk_mib;
	bool has_snapshot;
	struct mvm_snapshot_info snapshot; /* if has_snapshot */
	struct mvm_run run;
	struct mvm_build_info build;
	struct json_t *other;
};

/* Read and write it as mvm_template_spec_parse() and mvm_template_spec_format() do. */
int mvm_template_revision_parse(const char *text, size_t len, const char *name,
				struct mvm_template_revision *ret, struct mvm_error *err);
int mvm_template_revision_format(const struct mvm_template_revision *revision, char **ret,
				 struct mvm_error *err);
void mvm_template_revision_done(struct mvm_template_revision *revision);

/* The cache key (mvm_template_cache_key()) of a revision's own lock, profile and role. */
void mvm_template_revision_cache_key(const struct mvm_template_revision *revision,
				     char ret[MVM_CACHE_KEY_SIZE]);

/* An artifact of a revision, named by its role ("rootfs", "vmlinux", "initrd") or its file. */
struct mvm_artifact {
	const char *name;
	struct mvm_digest digest;
};

/* The inputs of a revision's hash, which identify the revision.  Borrowed. */
struct mvm_revision_inputs {
	const struct mvm_artifact *artifacts;
	size_t n_artifacts;
	const char *profile;
	const char *role;
	uint8_t vcpus;
	uint32_t mem_mib;
	uint32_t data_disk_mib;
	uint32_t root_disk_mib;
	const struct mvm_run *run; /* may be NULL */
};

#define MVM_REVISION_HASH_SIZE 33

/* The first 32 hex digits of SHA-256 over the inputs as sorted compact JSON.  The order of the
 * artifacts does not matter.  Returns 0, -EINVAL (a string is not UTF-8) or -ENOMEM. */
int mvm_revision_hash(const struct mvm_revision_inputs *inputs, char ret[MVM_REVISION_HASH_SIZE],
		      struct mvm_error *err);

/* ---- TemplateKind ---- */

/* What a template offers to a backend: only an image for a cold boot, or a snapshot too. */
struct mvm_template_kind {
	bool is_snapshot;
	struct mvm_snapshot_info snapshot; /* if is_snapshot */
};

/* Read and write "Image" or {"Snapshot": {...}}, the enum format of Rust's serde; otherwise as
 * mvm_template_spec_parse() and mvm_template_spec_format() do. */
int mvm_template_kind_parse(const char *text, size_t len, const char *name,
			    struct mvm_template_kind *ret, struct mvm_error *err);
int mvm_template_kind_format(const struct mvm_template_kind *kind, char **ret,
			     struct mvm_error *err);
void mvm_template_kind_done(struct mvm_template_kind *kind);

/*
 * The kind of a revision on a backend: Snapshot when this backend made the revision's snapshot and
 * can restore snapshots, else Image.
 *
 *   backend            its name, compared with the snapshot's compat key "backend"; Firecracker
 *                      made the snapshots without that key
 *   backend_snapshots  the backend's capability
 */
int mvm_template_kind_of(const struct mvm_template_revision *revision, const char *backend,
			 bool backend_snapshots, struct mvm_template_kind *ret,
			 struct mvm_error *err);

/* ---- Names ---- */

/* A plain file name: not empty, no slash, not "." or "..". */
bool mvm_artifact_name_valid(const char *s);

#endif
