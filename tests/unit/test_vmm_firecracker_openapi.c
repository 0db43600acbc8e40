/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks every request that the Firecracker backend can make against Firecracker's published API:
 * paths and methods, and the type of each property, whether it is required, and its limits.
 *
 * Source: firecracker.yaml (Swagger 2.0) of release 1.16.1.  The tables have the definitions that
 * are in use.  Any other property is an error, because the API refuses unknown properties.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <jansson.h>
#include <string.h>

#include "vmm/firecracker/firecracker.h"

enum type { STRING, BOOLEAN, INTEGER, OBJECT };

struct property {
	const char *name;
	enum type type;
	bool required;
	json_int_t min, max;	   /* of an INTEGER; 0, 0: no published limits */
	const char *values[4];	   /* the values of a STRING that has only a few */
	const struct property *of; /* of an OBJECT */
};

static const struct property machine_configuration[] = {
	{ .name = "vcpu_count", .type = INTEGER, .required = true, .min = 1, .max = 32 },
	{ .name = "mem_size_mib", .type = INTEGER, .required = true },
	{ .name = "smt", .type = BOOLEAN },
	{ .name = "track_dirty_pages", .type = BOOLEAN },
	{ .name = "huge_pages", .type = STRING, .values = { "None", "2M" } },
	{ 0 },
};

static const struct property boot_source[] = {
	{ .name = "kernel_image_path", .type = STRING, .required = true },
	{ .name = "initrd_path", .type = STRING },
	{ .name = "boot_args", .type = STRING },
	{ 0 },
};

static const struct property drive[] = {
	{ .name = "drive_id", .type = STRING, .required = true },
	{ .name = "is_root_device", .type = BOOLEAN, .required = true },
	{ .name = "is_read_only", .type = BOOLEAN, .required = true }, /* of virtio-block */
	{ .name = "path_on_host", .type = STRING, .required = true },  /* likewise */
	{ .name = "partuuid", .type = STRING },
	{ .name = "cache_type", .type = STRING, .values = { "Unsafe", "Writeback" } },
	{ .name = "io_engine", .type = STRING, .values = { "Sync", "Async" } },
	{ 0 },
};

static const struct property token_bucket[] = {
	{ .name = "one_time_burst", .type = INTEGER, .max = INT64_MAX },
	{ .name = "refill_time", .type = INTEGER, .required = true, .max = INT64_MAX },
	{ .name = "size", .type = INTEGER, .required = true, .max = INT64_MAX },
	{ 0 },
};

static const struct property rate_limiter[] = {
	{ .name = "bandwidth", .type = OBJECT, .of = token_bucket },
	{ .name = "ops", .type = OBJECT, .of = token_bucket },
	{ 0 },
};

static const struct property partial_network_interface[] = {
	{ .name = "iface_id", .type = STRING, .required = true },
	{ .name = "rx_rate_limiter", .type = OBJECT, .of = rate_limiter },
	{ .name = "tx_rate_limiter", .type = OBJECT, .of = rate_limiter },
	{ 0 },
};

static const struct property network_interface[] = {
	{ .name = "iface_id", .type = STRING, .required = true },
	{ .name = "host_dev_name", .type = STRING, .required = true },
	{ .name = "guest_mac", .type = STRING },
	{ .name = "mtu", .type = INTEGER, .min = 68, .max = 65535 },
	{ .name = "rx_rate_limiter", .type = OBJECT, .of = rate_limiter },
	{ .name = "tx_rate_limiter", .type = OBJECT, .of = rate_limiter },
	{ 0 },
};

static const struct property vsock[] = {
	{ .name = "guest_cid", .type = INTEGER, .required = true, .min = 3, .max = UINT32_MAX },
	{ .name = "uds_path", .type = STRING, .required = true },
	{ 0 },
};

static const struct property entropy_device[] = { { 0 } };

static const struct property instance_action_info[] = {
	{ .name = "action_type",
	  .type = STRING,
	  .required = true,
	  .values = { "FlushMetrics", "InstanceStart", "SendCtrlAltDel" } },
	{ 0 },
};

static const struct property vm[] = {
	{ .name = "state", .type = STRING, .required = true, .values = { "Paused", "Resumed" } },
	{ 0 },
};

static const struct property snapshot_create_params[] = {
	{ .name = "mem_file_path", .type = STRING, .required = true },
	{ .name = "snapshot_path", .type = STRING, .required = true },
	{ .name = "snapshot_type", .type = STRING, .values = { "Full", "Diff" } },
	{ 0 },
};

static const struct property memory_backend[] = {
	{ .name = "backend_type", .type = STRING, .required = true, .values = { "File", "Uffd" } },
	{ .name = "backend_path", .type = STRING, .required = true },
	{ 0 },
};

static const struct property snapshot_load_params[] = {
	{ .name = "snapshot_path", .type = STRING, .required = true },
	{ .name = "mem_backend", .type = OBJECT, .required = true, .of = memory_backend },
	{ .name = "track_dirty_pages", .type = BOOLEAN },
	{ .name = "resume_vm", .type = BOOLEAN },
	{ .name = "clock_realtime", .type = BOOLEAN },
	{ 0 },
};

/* A path that ends in '/' stands for paths with an id, which a property of the body repeats. */
static const struct operation {
	const char *method, *path, *id;
	const struct property *body;
} operations[] = {
	{ "PUT", "/machine-config", NULL, machine_configuration },
	{ "PUT", "/boot-source", NULL, boot_source },
	{ "PUT", "/drives/", "drive_id", drive },
	{ "PUT", "/network-interfaces/", "iface_id", network_interface },
	{ "PATCH", "/network-interfaces/", "iface_id", partial_network_interface },
	{ "PUT", "/vsock", NULL, vsock },
	{ "PUT", "/entropy", NULL, entropy_device },
	{ "PUT", "/actions", NULL, instance_action_info },
	{ "PATCH", "/vm", NULL, vm },
	{ "PUT", "/snapshot/create", NULL, snapshot_create_params },
	{ "PUT", "/snapshot/load", NULL, snapshot_load_params },
};

static const struct operation *operation_of(const struct fc_request *q)
{
	for (size_t i = 0; i < MVM_ARRAY_SIZE(operations); i++) {
		const struct operation *o = &operations[i];
		if (!str_eq(o->method, q->method))
			continue;
		if (o->id ? str_starts(q->path, o->path) : str_eq(q->path, o->path))
			return o;
	}
	return NULL;
}

static bool is_one_of(const char *const *values, const char *value)
{
	for (; *values; values++) {
		if (str_eq(*values, value))
			return true;
	}
	return false;
}

static void check_object(const json_t *o, const struct property *properties);

static void check_value(const json_t *value, const struct property *p)
{
	switch (p->type) {
	case STRING:
		if (!json_is_string(value) ||
		    (p->values[0] && !is_one_of(p->values, json_string_value(value))))
			fail_msg("%s is no string that may be there", p->name);
		break;
	case BOOLEAN:
		if (!json_is_boolean(value))
			fail_msg("%s is no boolean", p->name);
		break;
	case INTEGER:
		if (!json_is_integer(value) || (p->max && (json_integer_value(value) < p->min ||
							   json_integer_value(value) > p->max)))
			fail_msg("%s is no integer in its range", p->name);
		break;
	case OBJECT:
		check_object(value, p->of);
		break;
	}
}

static void check_object(const json_t *o, const struct property *properties)
{
	size_t known = 0;
	assert_true(json_is_object(o));
	for (const struct property *p = properties; p->name; p++) {
		const json_t *value = json_object_get(o, p->name);
		if (!value && p->required)
			fail_msg("%s is missing", p->name);
		if (value)
			check_value(value, p);
		known += value != NULL;
	}
	assert_int_equal(json_object_size(o), known);
}

static void check_request(const struct fc_request *q)
{
	const struct operation *o = operation_of(q);
	if (!o)
		fail_msg("%s %s is not published", q->method, q->path);
	json_t *body = json_loads(q->body, JSON_REJECT_DUPLICATES, NULL);
	check_object(body, o->body);
	if (o->id)
		assert_string_equal(json_string_value(json_object_get(body, o->id)),
				    q->path + strlen(o->path));
	json_decref(body);
}

static void check_all(const struct fc_requests *requests)
{
	for (size_t i = 0; i < requests->n; i++)
		check_request(&requests->v[i]);
}

static void every_machine_is_described_as_published(void **state)
{
	(void)state;
	static const struct vmm_config machines[] = {
		{ .vcpus = 1, .mem_mib = 96, .kernel = "vmlinux", .cmdline = "quiet" },
		{ .vcpus = 32,
		  .mem_mib = 1u << 20,
		  .kernel = "vmlinux",
		  .initrd = "initrd",
		  .cmdline = "a=\"b\\\" \xc3\xa9",
		  .network = true,
		  .drives = { { .name = "rootfs.ext4", .read_only = true },
			      { .name = "data.ext4", .own = true },
			      { .name = "x", .read_only = true },
			      { .name = "y" } },
		  .n_drives = 4 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(machines); i++) {
		AUTO_DONE(fc_requests) requests = { 0 };
		assert_int_equal(fc_requests_config(&machines[i], &requests, NULL), 0);
		assert_true(requests.n >= 4);
		check_all(&requests);
	}
}

static void every_action_is_as_published(void **state)
{
	(void)state;
	static const enum fc_action actions[] = {
		FC_START, FC_PAUSE,	   FC_RESUME,	   FC_SNAPSHOT_DIFF, FC_SNAPSHOT_FULL,
		FC_LOAD,  FC_CTRL_ALT_DEL, FC_LOAD_PAUSED, FC_SAVE_DEVICES
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(actions); i++) {
		AUTO_DONE(fc_requests) requests = { 0 };
		assert_int_equal(fc_requests_action(actions[i], &requests, NULL), 0);
		assert_int_equal(requests.n, 1);
		check_all(&requests);
	}
}

static void a_rate_is_given_as_published(void **state)
{
	(void)state;
	static const struct vmm_network rates[] = {
		{ .bytes_per_s = UINT64_C(1048576) << 20, .packets_per_s = UINT32_MAX },
		{ .bytes_per_s = 1 },
		{ 0 },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(rates); i++) {
		AUTO_DONE(fc_requests) requests = { 0 };
		assert_int_equal(fc_requests_run(FC_LOAD, &rates[i], &requests, NULL), 0);
		assert_int_equal(requests.n, 2);
		check_all(&requests);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_machine_is_described_as_published),
		cmocka_unit_test(every_action_is_as_published),
		cmocka_unit_test(a_rate_is_given_as_published),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
