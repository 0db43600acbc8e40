/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CLI_HANDLES_H
#define CLI_HANDLES_H

/* The library's handles as scoped variables: AUTO(mvm) m = NULL; */

#include <errno.h>
#include <mvm/instance.h>
#include <mvm/kernel.h>
#include <mvm/mvm.h>
#include <mvm/node.h>
#include <mvm/pool.h>
#include <mvm/registry.h>
#include <mvm/revisions.h>
#include <mvm/store.h>

#include "base/own.h"

DEFINE_AUTO(mvm, mvm_close)
DEFINE_AUTO(mvm_instance, mvm_instance_close)
DEFINE_AUTO(mvm_instance_info, mvm_instance_info_free)
DEFINE_AUTO(mvm_kernel, mvm_kernel_free)
DEFINE_AUTO(mvm_node, mvm_node_free)
DEFINE_AUTO(mvm_template_config, mvm_template_config_free)
DEFINE_AUTO(mvm_template_details, mvm_template_details_free)
DEFINE_AUTO(mvm_template_diff, mvm_template_diff_free)
DEFINE_AUTO(mvm_verify_result, mvm_verify_result_free)

/* Arrays of owned pointers, as the library's lists give them. */
#define DEFINE_LIST(tag, free_fn)                                                                  \
	struct tag##_list {                                                                        \
		struct tag **v;                                                                    \
		size_t n;                                                                          \
	};                                                                                         \
	static inline void tag##_list_done(struct tag##_list *l)                                   \
	{                                                                                          \
		free_fn(l->v, l->n);                                                               \
	}                                                                                          \
	DEFINE_AUTO_DONE(tag##_list, tag##_list_done)

DEFINE_LIST(mvm_instance_info, mvm_instance_list_free)
DEFINE_LIST(mvm_kernel, mvm_kernel_list_free)
DEFINE_LIST(mvm_pool_info, mvm_pool_list_free)
DEFINE_LIST(mvm_remote_tag, mvm_remote_list_free)
DEFINE_LIST(mvm_revision_summary, mvm_revision_list_free)
DEFINE_LIST(mvm_backend_info, mvm_backend_list_free)

#endif
