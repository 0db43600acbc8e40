/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SERVICE_V1_RESULTS_H
#define SERVICE_V1_RESULTS_H

/* The library's results as JSON, in the shapes that `mvm --json` prints (doc/cli-json.md). */

#include <jansson.h>
#include <mvm/artifact.h>
#include <mvm/build.h>

/* All return NULL when there is no memory. */
json_t *build_result_json(const struct mvm_build_result *b);
json_t *artifact_result_json(const struct mvm_artifact_result *a);

/* A text, or null for NULL and "". */
json_t *text_or_null(const char *text);

#endif
