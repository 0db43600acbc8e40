/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_BUILD_REPORT_H
#define CLI_BUILD_REPORT_H

#include <mvm/build.h>
#include <stdbool.h>

struct jsonw;

/* Report a build or a commit: a line, or an object of j. */
void build_report(const struct mvm_build_result *b, struct jsonw *j, bool as_json);

#endif
