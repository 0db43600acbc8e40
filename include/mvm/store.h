/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_STORE_H
#define MVM_STORE_H

/* The templates in a data folder. */

#include <mvm/error.h>
#include <mvm/mvm.h>
#include <mvm/template.h>

enum mvm_apply_result {
	MVM_APPLY_UNCHANGED,
	MVM_APPLY_CREATED,
	MVM_APPLY_UPDATED,
};

/*
 * Create a variant's template, or bring an existing one in line with it.  Nothing is built.
 *
 *   config, variant  as loaded; the variant is one of the config's
 *
 * Returns enum mvm_apply_result, or a negative errno.
 */
MVM_API int mvm_template_apply(struct mvm *mvm, const struct mvm_template_config *config,
			       const struct mvm_template_variant *variant, struct mvm_error *err);

/* One line of a listing. */
struct mvm_template_summary {
	struct mvm_template_spec spec;
	char *revision; /* current; NULL when nothing has been built */
	int64_t built_at;
	uint64_t rootfs_bytes;
	bool has_snapshot;
	uint64_t snapshot_mem_bytes;
	char *problem; /* why it cannot be read; then only spec.template_id is set */
};
MVM_API void mvm_template_summary_free(struct mvm_template_summary *summary);

/* All templates by id; free each one and the array. */
MVM_API int mvm_template_list(struct mvm *mvm, struct mvm_template_summary ***ret, size_t *ret_n,
			      struct mvm_error *err);

/*
 * Everything about one template or revision.
 *
 *   ref       "ID" or "ID@REVISION"
 *   ret_json  {"spec":…, "revision":…, "kind":…, "cache_key":…, "run":{"start":…,"reason":…}},
 *             free(3) it.  "revision" and "kind" are null when nothing has been built; "run" says
 *             what a start would do here, and why
 */
MVM_API int mvm_template_info(struct mvm *mvm, const char *ref, char **ret_json,
			      struct mvm_error *err);

/* A backend and what it can do on this host. */
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
};
MVM_API void mvm_backend_info_free(struct mvm_backend_info *info);

/* All backends in order of preference; free each one and the array. */
MVM_API int mvm_backend_list(struct mvm *mvm, struct mvm_backend_info ***ret, size_t *ret_n,
			     struct mvm_error *err);

#endif
