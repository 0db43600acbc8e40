/* SPDX-License-Identifier: Apache-2.0 */
#ifndef STORE_STORE_PRIV_H
#define STORE_STORE_PRIV_H

/* Internal to src/store. */

#include "store/store.h"

bool store_read_only(const struct store *s);

/* Remember that a file was copied because it could not be linked. */
void store_note_copy(struct store *s);

/* Open the folder of a template; create: make it if it is missing.  Checks the name.  Returns a
 * descriptor to close; -ENOENT "no template '...'". */
int template_open(struct store *s, const char *id, bool create, struct mvm_error *err);

/* Report that no template has this name.  Returns -ENOENT. */
int store_no_template(const char *id, struct mvm_error *err);

/* Remove temporary files, "file." and 16 hex digits, that killed commands left a day ago or longer
 * in folders where mvm renames within the folder: cache/, cache/chunks/, locks/, pool/. */
void store_sweep_files(struct store *s);

/* Remove this entry of tmp/ unless somebody has locked it. */
bool sweep_one(int tmp_fd, const char *name);

/* May this revision's folder be replaced?  -EEXIST with path and remedy when it has a file that mvm
 * did not make. */
int store_revision_may_go(int dir_fd, const char *id, const char *revision, struct mvm_error *err);

/* May this template's folder be removed, and its description be replaced?  -EEXIST with path and
 * remedy when mvm did not make something in the folder, or did not write the description. */
int store_template_may_go(int dir_fd, const char *id, struct mvm_error *err);
int store_spec_may_go(int dir_fd, const char *id, struct mvm_error *err);

#define SPEC_NAME "template.json"
#define SPEC_MAX  ((size_t)1024 * 1024)

/* fsync every file and folder below fd, and fd itself. */
int tree_sync(int fd);

#endif
