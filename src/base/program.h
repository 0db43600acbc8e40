/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROGRAM_H
#define BASE_PROGRAM_H

/*
 * Find one of mvm's own helper programs ("mvm-supervisor", "mvm-agent"): in the folder that
 * MVM_LIBEXEC_DIR names, else beside the running program, else in ../libexec/mvm from there, else
 * where this build was configured to install them.
 *
 *   ret  absolute path, the caller's
 *
 * Returns 0 or -ENOENT.
 */
int program_helper_path(const char *name, char **ret);

#endif
