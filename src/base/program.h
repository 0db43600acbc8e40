/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BASE_PROGRAM_H
#define BASE_PROGRAM_H

/*
 * Find one of mvm's own helper programs ("mvm-supervisor", "mvm-agent").  With MVM_LIBEXEC_DIR set,
 * only in that folder.  Otherwise beside the running program, then in ../libexec/mvm from there,
 * then in this build's configured folder.
 *
 *   ret  absolute path; free(3) it
 *
 * Returns 0 or -ENOENT.
 */
int program_helper_path(const char *name, char **ret);

#endif
