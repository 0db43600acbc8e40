/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_PATHS_H
#define MVM_PATHS_H

/*
 * Paths in the data folder.
 *
 * All functions return text that the caller frees with free(3), or NULL with errno: ENOMEM, or
 * ENOENT when the data folder is to be in $HOME and that is not set to an absolute path.
 * They only join strings and look nothing up.  The caller checks ids and revisions first
 * (mvm_template_id_valid, mvm_revision_valid in mvm/template.h).
 *
 *   data_dir  the data folder; NULL: mvm_data_dir(NULL)
 */

#include <mvm/visibility.h>

/* The data folder: the argument unless it is NULL or empty, else $MVM_DATA_DIR unless it is unset
 * or empty, else $HOME/.mvm. */
MVM_API char *mvm_data_dir(const char *argument);

/* <data_dir>/templates */
MVM_API char *mvm_templates_base_dir(const char *data_dir);

/* <data_dir>/templates/<id> */
MVM_API char *mvm_template_dir(const char *data_dir, const char *template_id);

/* <data_dir>/templates/<id>/template.json */
MVM_API char *mvm_template_spec_path(const char *data_dir, const char *template_id);

/* <data_dir>/templates/<id>/artifacts */
MVM_API char *mvm_template_artifacts_dir(const char *data_dir, const char *template_id);

/* <data_dir>/templates/<id>/artifacts/<revision> */
MVM_API char *mvm_template_revision_dir(const char *data_dir, const char *template_id,
					const char *revision);

/* <data_dir>/templates/<id>/current */
MVM_API char *mvm_template_current_symlink(const char *data_dir, const char *template_id);

/* <data_dir>/templates/<id>/artifacts/<revision>/snapshot */
MVM_API char *mvm_template_snapshot_dir(const char *data_dir, const char *template_id,
					const char *revision);

#endif
