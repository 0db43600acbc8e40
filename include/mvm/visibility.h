/* SPDX-License-Identifier: Apache-2.0 */
#ifndef MVM_VISIBILITY_H
#define MVM_VISIBILITY_H

/* Marks what the shared library exports and, for C++ callers, how it is linked. */
#ifdef __cplusplus
#define MVM_API extern "C" __attribute__((visibility("default")))
#else
#define MVM_API __attribute__((visibility("default")))
#endif

struct mvm; /* mvm/mvm.h; here so that this header is no empty translation unit by itself */

#endif
