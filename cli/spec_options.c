/* SPDX-License-Identifier: Apache-2.0 */
#include "spec_options.h"

/* The public structs own their strings; here they only lend them for one call. */
static char *lent(const char *s)
{
	return (char *)s;
}

static unsigned take_text(const struct args *a, const char *name, unsigned field, char **ret)
{
	*ret = lent(args_string(a, name));
	return args_given(a, name) ? field : 0;
}

unsigned spec_from_args(const struct args *a, struct mvm_template_spec *ret)
{
	struct mvm_template_spec s = {
		.vcpus = (uint8_t)args_u32(a, "cpus", 0),
		.mem_mib = args_u32(a, "mem", 0),
		.data_disk_mib = args_u32(a, "data-disk", 0),
	};
	const struct strv *env = args_list(a, "env");
	unsigned fields = 0;

	fields |= take_text(a, "flake", MVM_FIELD_FLAKE_REF, &s.flake_ref);
	fields |= take_text(a, "profile", MVM_FIELD_PROFILE, &s.profile);
	fields |= take_text(a, "role", MVM_FIELD_ROLE, &s.role);
	fields |= take_text(a, "kernel", MVM_FIELD_KERNEL, &s.run.kernel);
	fields |= take_text(a, "boot-args", MVM_FIELD_BOOT_ARGS, &s.run.boot_args);
	fields |= args_given(a, "cpus") ? MVM_FIELD_VCPUS : 0u;
	fields |= args_given(a, "mem") ? MVM_FIELD_MEM_MIB : 0u;
	fields |= args_given(a, "data-disk") ? MVM_FIELD_DATA_DISK_MIB : 0u;
	if (args_given(a, "network")) {
		s.run.network = str_eq(args_string(a, "network"), "none") ? MVM_NETWORK_NONE
									  : MVM_NETWORK_USER;
		fields |= MVM_FIELD_NETWORK;
	}
	if (args_given(a, "initrd")) {
		s.run.initrd = str_eq(args_string(a, "initrd"), "image") ? MVM_INITRD_IMAGE
									 : MVM_INITRD_MVM;
		fields |= MVM_FIELD_INITRD;
	}
	if (env->n) {
		s.run.env = (struct mvm_strings){ .v = env->v, .n = env->n };
		fields |= MVM_FIELD_ENV;
	}
	if (a->n_rest) {
		s.run.command = (struct mvm_strings){ .v = (char **)a->rest, .n = a->n_rest };
		fields |= MVM_FIELD_COMMAND;
	}
	*ret = s;
	return fields;
}
