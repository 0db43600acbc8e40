/* SPDX-License-Identifier: Apache-2.0 */
/* Requests to Firecracker, its answers, and the relay of the agent's channel. */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/file.h"
#include "base/sock.h"
#include "net/agent.h"
#include "vmm/firecracker/firecracker.h"

static char version[] = "1.16.1", format[] = "10.0.0", binary[] = "/usr/bin/firecracker";

static const struct vmm_probe probe = {
	.usable = true,
	.binary = binary,
	.version = version,
	.state_format = format,
	.accel = VMM_ACCEL_KVM,
	.tsc_khz = 2600000,
};

static struct vmm_config full_config(void)
{
	return (struct vmm_config){
		.name = "web",
		.vcpus = 2,
		.mem_mib = 256,
		.kernel = "vmlinux",
		.initrd = "initrd",
		.cmdline = "console=ttyS0 a=\"b\"",
		.drives = { { .name = "rootfs.ext4", .read_only = true }, { .name = "data.ext4" } },
		.n_drives = 2,
	};
}

static void assert_requests(const struct fc_requests *got, const char *wanted)
{
	AUTO_DONE(strbuf) text = { 0 };
	for (size_t i = 0; i < got->n; i++)
		strbuf_addf(&text, "%s %s %s\n", got->v[i].method, got->v[i].path, got->v[i].body);
	assert_string_equal(text.data, wanted);
}

static void a_machine_is_described_call_by_call(void **state)
{
	(void)state;
	struct vmm_config c = full_config();
	struct mvm_error err;
	AUTO_DONE(fc_requests) requests = { 0 };
	assert_int_equal(fc_requests_config(&c, &requests, &err), 0);
	assert_requests(
		&requests,
		"PUT /machine-config {\"vcpu_count\":2,\"mem_size_mib\":256,\"smt\":false,"
		"\"track_dirty_pages\":false}\n"
		"PUT /boot-source {\"kernel_image_path\":\"vmlinux\","
		"\"initrd_path\":\"initrd\","
		"\"boot_args\":\"console=ttyS0 a=\\\"b\\\"\"}\n"
		"PUT /drives/drive0 {\"drive_id\":\"drive0\",\"path_on_host\":"
		"\"rootfs.ext4\",\"is_root_device\":false,\"is_read_only\":true,"
		"\"cache_type\":\"Unsafe\"}\n"
		"PUT /drives/drive1 {\"drive_id\":\"drive1\",\"path_on_host\":\"data.ext4\","
		"\"is_root_device\":false,\"is_read_only\":false,"
		"\"cache_type\":\"Writeback\"}\n"
		"PUT /vsock {\"guest_cid\":3,\"uds_path\":\"v.sock\"}\n"
		"PUT /entropy {}\n");
}

static const struct vmm_network rated = { .bytes_per_s = 256u << 20, .packets_per_s = 100000 };

#define LIMITER                                                                                    \
	"{\"bandwidth\":{\"size\":268435456,\"refill_time\":1000},"                                \
	"\"ops\":{\"size\":100000,\"refill_time\":1000}}"
#define LIMITERS "\"rx_rate_limiter\":" LIMITER ",\"tx_rate_limiter\":" LIMITER

static void a_network_is_one_more_device(void **state)
{
	(void)state;
	struct vmm_config c = full_config();
	struct mvm_error err;
	AUTO_DONE(fc_requests) requests = { 0 };
	AUTO_FREE char *layout = NULL;
	c.network = true;
	c.network_rules = rated;
	c.n_drives = 1;
	assert_int_equal(fc_requests_config(&c, &requests, &err), 0);
	assert_int_equal(requests.n, 6);
	assert_string_equal(requests.v[3].path, "/network-interfaces/eth0");
	assert_string_equal(requests.v[3].body,
			    "{\"iface_id\":\"eth0\",\"host_dev_name\":\"tap0\","
			    "\"guest_mac\":\"52:54:00:6d:76:6d\"," LIMITERS "}");
	assert_int_equal(fc_device_layout(&c, &layout, &err), 0);
	assert_string_equal(layout, "drive0:ro:rootfs.ext4 net:52:54:00:6d:76:6d vsock:3 entropy");
}

static void a_clone_gets_the_rate_of_its_own_start(void **state)
{
	(void)state;
	struct mvm_error err;
	AUTO_DONE(fc_requests) requests = { 0 };
	assert_int_equal(fc_requests_run(FC_LOAD, &rated, &requests, &err), 0);
	assert_requests(&requests,
			"PUT /snapshot/load {\"snapshot_path\":\"vmstate.bin\",\"mem_backend\":"
			"{\"backend_type\":\"File\",\"backend_path\":\"mem.bin\"},"
			"\"resume_vm\":true}\n"
			"PATCH /network-interfaces/eth0 {\"iface_id\":\"eth0\"," LIMITERS "}\n");
}

static void a_rate_of_0_is_no_limit(void **state)
{
	(void)state;
	static const struct vmm_network bytes_alone = { .bytes_per_s = 1 };
	struct mvm_error err;
	AUTO_DONE(fc_requests) requests = { 0 };
	assert_int_equal(fc_requests_run(FC_LOAD, &bytes_alone, &requests, &err), 0);
	assert_non_null(
		strstr(requests.v[1].body,
		       "\"tx_rate_limiter\":{\"bandwidth\":{\"size\":1,\"refill_time\":1000},"
		       "\"ops\":{\"size\":0,\"refill_time\":0}}"));
}

static void a_machine_may_have_no_initrd(void **state)
{
	(void)state;
	struct vmm_config c = full_config();
	struct mvm_error err;
	AUTO_DONE(fc_requests) requests = { 0 };
	c.initrd = NULL;
	assert_int_equal(fc_requests_config(&c, &requests, &err), 0);
	assert_string_equal(requests.v[1].body, "{\"kernel_image_path\":\"vmlinux\","
						"\"boot_args\":\"console=ttyS0 a=\\\"b\\\"\"}");
}

static void a_name_that_is_no_utf8_is_refused(void **state)
{
	(void)state;
	struct vmm_config c = full_config();
	struct mvm_error err;
	AUTO_DONE(fc_requests) requests = { 0 };
	c.kernel = "vm\xfflinux";
	assert_int_equal(fc_requests_config(&c, &requests, &err), -EINVAL);
	assert_string_equal(err.text, "a name for Firecracker's /boot-source is not UTF-8");
}

static void actions_are_single_calls(void **state)
{
	(void)state;
	static const struct {
		enum fc_action action;
		const char *says;
	} cases[] = {
		{ FC_START, "PUT /actions {\"action_type\":\"InstanceStart\"}\n" },
		{ FC_PAUSE, "PATCH /vm {\"state\":\"Paused\"}\n" },
		{ FC_RESUME, "PATCH /vm {\"state\":\"Resumed\"}\n" },
		{ FC_SNAPSHOT_DIFF, "PUT /snapshot/create {\"snapshot_type\":\"Diff\","
				    "\"snapshot_path\":\"vmstate.bin\","
				    "\"mem_file_path\":\"mem.bin\"}\n" },
		{ FC_SNAPSHOT_FULL, "PUT /snapshot/create {\"snapshot_type\":\"Full\","
				    "\"snapshot_path\":\"vmstate.bin\","
				    "\"mem_file_path\":\"mem.bin\"}\n" },
		{ FC_SAVE_DEVICES, "PUT /snapshot/create {\"snapshot_type\":\"Diff\","
				   "\"snapshot_path\":\"devices.bin\",\"mem_file_path\":\".\"}\n" },
		{ FC_LOAD_PAUSED, "PUT /snapshot/load {\"snapshot_path\":\"vmstate.bin\","
				  "\"mem_backend\":{\"backend_type\":\"File\","
				  "\"backend_path\":\"mem.bin\"},\"resume_vm\":false}\n" },
		{ FC_CTRL_ALT_DEL, "PUT /actions {\"action_type\":\"SendCtrlAltDel\"}\n" },
		{ FC_LOAD, "PUT /snapshot/load {\"snapshot_path\":\"vmstate.bin\","
			   "\"mem_backend\":{\"backend_type\":\"File\","
			   "\"backend_path\":\"mem.bin\"},\"resume_vm\":true}\n" },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		AUTO_DONE(fc_requests) requests = { 0 };
		struct mvm_error err;
		assert_int_equal(fc_requests_action(cases[i].action, &requests, &err), 0);
		assert_requests(&requests, cases[i].says);
	}
}

static void names_become_ids_that_firecracker_accepts(void **state)
{
	(void)state;
	char id[FC_ID_SIZE], longest[100];
	fc_id("web_1.x-Y", id);
	assert_string_equal(id, "web-1-x-Y");
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	fc_id(longest, id);
	assert_int_equal(strlen(id), 64);
}

static void the_command_line_ends_with_the_templates_additions(void **state)
{
	(void)state;
	struct vmm_config c = full_config();
	struct mvm_error err;
	AUTO_FREE char *plain = NULL, *more = NULL, *bad = NULL;
	char longest[3000];
	assert_int_equal(fc_cmdline(&probe, &c, NULL, &plain, &err), 0);
	assert_string_equal(plain, "console=ttyS0 panic=-1 reboot=k pci=off");
	assert_int_equal(fc_cmdline(&probe, &c, "quiet", &more, &err), 0);
	assert_string_equal(more, "console=ttyS0 panic=-1 reboot=k pci=off quiet");
	c.drives[1].option = "mvm.data";
	c.drives[2].option = "mvm.upper";
	c.n_drives = 3;
	AUTO_FREE char *data = NULL;
	assert_int_equal(fc_cmdline(&probe, &c, NULL, &data, &err), 0);
	assert_string_equal(data, "console=ttyS0 panic=-1 reboot=k pci=off mvm.data=/dev/vdb "
				  "mvm.upper=/dev/vdc");
	assert_int_equal(fc_cmdline(&probe, &c, "a\nb", &bad, &err), -EINVAL);
	memset(longest, 'a', sizeof(longest) - 1);
	longest[sizeof(longest) - 1] = '\0';
	assert_int_equal(fc_cmdline(&probe, &c, longest, &bad, &err), -EINVAL);
}

static void a_snapshot_depends_on_all_facts_of_firecracker(void **state)
{
	(void)state;
	struct vmm_config c = full_config();
	struct mvm_error err;
	AUTO_DONE(strv) facts = { 0 };
	AUTO_DONE(strbuf) text = { 0 };
	assert_int_equal(fc_facts_for(&probe, &c, "CPU 1", "6.1.0", &facts, &err), 0);
	for (size_t i = 0; i < facts.n; i++)
		strbuf_addf(&text, "%s\n", facts.v[i]);
	assert_string_equal(text.data, "version=1.16.1\n"
				       "state_format=10.0.0\n"
				       "accelerator=kvm\n"
				       "cpu=CPU 1\n"
				       "host_kernel=6.1.0\n"
				       "tsc_khz=2600000\n"
				       "devices=drive0:ro:rootfs.ext4 drive1:rw:data.ext4 "
				       "vsock:3 entropy\n");
}

static void assert_link(const struct fc_folder *folder, const char *name, const char *target)
{
	char got[64] = "";
	ssize_t n = readlinkat(folder->fd, name, got, sizeof(got) - 1);
	assert_string_equal(n < 0 ? "none" : got, target);
}

static void the_working_folder_links_to_the_vms_files(void **state)
{
	(void)state;
	char path[] = "/tmp/mvm-firecracker.XXXXXX";
	struct mvm_error err;
	assert_non_null(mkdtemp(path));
	AUTO_CLOSE int dir_fd = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	struct vmm_config c = full_config();
	c.work_fd = dir_fd;
	c.drives[1].own = true;
	c.memory = VMM_MEMORY_CAPTURE;
	c.memory_name = "new.bin";
	struct fc_folder folder = FC_FOLDER_NONE;
	assert_int_equal(fc_folder_make(&c, NULL, NULL, &folder, &err), 0);
	assert_link(&folder, "vmlinux", "/proc/self/fd/3/vmlinux");
	assert_link(&folder, "initrd", "/proc/self/fd/3/initrd");
	assert_link(&folder, "rootfs.ext4", "/proc/self/fd/3/rootfs.ext4");
	assert_link(&folder, "data.ext4", "/proc/self/fd/4/data.ext4");
	assert_link(&folder, "mem.bin", "/proc/self/fd/5/new.bin");
	fc_folder_done(&folder);

	c.initrd = c.kernel; /* one file for two uses */
	assert_int_equal(fc_folder_make(&c, NULL, NULL, &folder, &err), 0);
	fc_folder_done(&folder);

	/* a clone's own image */
	c.drives[0].name = "snapshot/rootfs.ext4";
	assert_int_equal(fc_folder_make(&c, NULL, NULL, &folder, &err), 0);
	assert_link(&folder, "rootfs.ext4", "/proc/self/fd/3/snapshot/rootfs.ext4");
	fc_folder_done(&folder);

	/* names from outside must not lead elsewhere */
	static const char *const bad[] = { "../rootfs.ext4", "mem.bin" };
	for (size_t i = 0; i < MVM_ARRAY_SIZE(bad); i++) {
		c.drives[0].name = bad[i];
		assert_true(fc_folder_make(&c, NULL, NULL, &folder, &err) < 0);
		assert_int_equal(folder.fd, -1);
	}
	assert_int_equal(rmdir(path), 0); /* nothing is left in it */
}

static void versions_are_read_and_compared(void **state)
{
	(void)state;
	static const struct {
		const char *text, *version;
	} cases[] = {
		{ "Firecracker v1.16.1\n\n", "1.16.1" },
		{ "Firecracker v1.17.0-dev\n", "1.17.0-dev" },
		{ "Firecracker v\n", NULL },
		{ "Firecracker x", NULL },
		{ "QEMU emulator version 7.2\n", NULL },
		{ "", NULL },
	};
	for (size_t i = 0; i < MVM_ARRAY_SIZE(cases); i++) {
		size_t len = 0;
		const char *found = fc_version_of(cases[i].text, &len);
		AUTO_FREE char *copy = found ? strndup(found, len) : NULL;
		assert_true(str_eq(copy, cases[i].version));
	}
	size_t len = 0;
	assert_int_equal(strncmp(fc_format_of("v10.0.0\n", &len), "10.0.0", 6), 0);
	assert_int_equal(len, 6);
	assert_null(fc_format_of("Error: no file", &len));

	assert_true(fc_version_at_least("1.13.0", 1, 13));
	assert_true(fc_version_at_least("2.0.0", 1, 13));
	assert_true(fc_version_at_least("1.100", 1, 13));
	assert_false(fc_version_at_least("1.12.9", 1, 13));
	assert_false(fc_version_at_least("0.25.0", 1, 13));
	assert_true(fc_pause_breaks_vsock("1.16.1"));
	assert_false(fc_pause_breaks_vsock("1.15.1"));
	assert_false(fc_pause_breaks_vsock("1.17.0-dev"));
}

/* The catalogue of CRCs lists it as CRC-64/REDIS, with this value for these digits. */
static void the_checksum_is_that_of_jones(void **state)
{
	(void)state;
	const char digits[] = "123456789";
	assert_true(crc64_jones(0, digits, 9) == UINT64_C(0xe9c6d914c4b8d9ca));
	assert_true(crc64_jones(crc64_jones(0, digits, 4), digits + 4, 5) ==
		    UINT64_C(0xe9c6d914c4b8d9ca));
	assert_true(crc64_jones(0, "", 0) == 0);
	uint8_t whole[9 + 8] = "123456789";
	for (int i = 0; i < 8; i++)
		whole[9 + i] = (uint8_t)(UINT64_C(0xe9c6d914c4b8d9ca) >> (8 * i));
	assert_true(crc64_jones(0, whole, sizeof(whole)) == 0);
	whole[3] ^= 1;
	assert_false(crc64_jones(0, whole, sizeof(whole)) == 0);
}

/* A folder for sockets, a loop, and the agent's channel with our end. */
struct relay {
	char path[64];
	int dir_fd, agent_fd;
	struct loop *loop;
	struct fc_agent agent;
	int taken_fd, taking_fails;
};

static int take(void *arg, int fd)
{
	struct relay *r = arg;
	if (r->taking_fails == 0)
		r->taken_fd = fd;
	return r->taking_fails;
}

static int prepare(void **state, int (*on_agent)(void *arg, int fd))
{
	static struct relay r;
	int pair[2];
	r = (struct relay){ .agent = FC_AGENT_NONE, .taken_fd = -1 };
	snprintf(r.path, sizeof(r.path), "/tmp/mvm-firecracker.XXXXXX");
	assert_non_null(mkdtemp(r.path));
	r.dir_fd = open(r.path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	assert_int_equal(loop_new(&r.loop), 0);
	assert_int_equal(sock_pair(pair), 0);
	const struct vmm_config config = { .on_agent = on_agent, .on_agent_arg = &r };
	int listen_fd = sock_listen_at(r.dir_fd, FC_AGENT_SOCKET);
	assert_true(listen_fd >= 0);
	assert_int_equal(fc_agent_wait(&r.agent, r.loop, listen_fd, pair[1], &config), 0);
	r.agent_fd = pair[0];
	*state = &r;
	return 0;
}

static int set_up(void **state)
{
	return prepare(state, NULL);
}

static int set_up_with_a_taker(void **state)
{
	return prepare(state, take);
}

static int tear_down(void **state)
{
	struct relay *r = *state;
	fc_agent_done(&r->agent);
	loop_free(r->loop);
	if (r->agent_fd >= 0)
		close(r->agent_fd);
	if (r->taken_fd >= 0)
		close(r->taken_fd);
	close(r->dir_fd);
	return tree_remove_at(AT_FDCWD, r->path);
}

/* Run the loop until a byte, or the end, has come at fd. */
static ssize_t receive(struct relay *r, int fd, char *buffer, size_t len)
{
	int64_t deadline_ns = clock_deadline_ns(60000);
	for (;;) {
		ssize_t n = recv(fd, buffer, len, MSG_DONTWAIT);
		if (n >= 0 || errno != EAGAIN)
			return n;
		assert_int_equal(loop_run_once(r->loop, deadline_ns), 0);
	}
}

static int dial(struct relay *r)
{
	int fd = sock_connect_at(r->dir_fd, FC_AGENT_SOCKET);
	assert_true(fd >= 0);
	return fd;
}

static void the_socket_is_where_firecracker_connects_to(void **state)
{
	(void)state;
	char name[64];
	snprintf(name, sizeof(name), "%s_%u", FC_VSOCK, AGENT_VSOCK_PORT);
	assert_string_equal(name, FC_AGENT_SOCKET);
}

static void bytes_sent_before_the_guest_dials_reach_it(void **state)
{
	struct relay *r = *state;
	char got[8];
	assert_int_equal(send(r->agent_fd, "early", 5, 0), 5);
	int guest = dial(r);
	assert_int_equal(receive(r, guest, got, sizeof(got)), 5);
	assert_int_equal(send(guest, "answer", 6, 0), 6);
	assert_int_equal(receive(r, r->agent_fd, got, sizeof(got)), 6);
	assert_memory_equal(got, "answer", 6);
	close(guest);
}

static void only_the_first_connection_counts(void **state)
{
	struct relay *r = *state;
	char got[8];
	int guest = dial(r);
	assert_int_equal(send(guest, "1", 1, 0), 1);
	assert_int_equal(receive(r, r->agent_fd, got, sizeof(got)), 1);
	int another = dial(r);
	assert_int_equal(receive(r, another, got, sizeof(got)), 0);
	close(another);
	close(guest);
}

static void the_next_call_counts_when_the_connection_is_lost(void **state)
{
	struct relay *r = *state;
	char got[8];
	int guest = dial(r);
	assert_int_equal(send(guest, "1", 1, 0), 1);
	assert_int_equal(receive(r, r->agent_fd, got, sizeof(got)), 1);
	int before = dial(r); /* it was not heard yet */
	assert_int_equal(fc_agent_again(&r->agent), 0);
	assert_int_equal(receive(r, before, got, sizeof(got)), 0);
	assert_int_equal(send(r->agent_fd, "early", 5, 0), 5);
	int again = dial(r);
	assert_int_equal(receive(r, again, got, sizeof(got)), 5);
	assert_int_equal(send(again, "2", 1, 0), 1);
	assert_int_equal(receive(r, r->agent_fd, got, sizeof(got)), 1);
	assert_int_equal(got[0], '2');
	close(guest);
	close(before);
	close(again);
}

static void the_end_comes_after_the_last_bytes(void **state)
{
	struct relay *r = *state;
	char got[8];
	int guest = dial(r);
	assert_int_equal(send(guest, "last", 4, 0), 4);
	close(guest);
	assert_int_equal(receive(r, r->agent_fd, got, sizeof(got)), 4);
	assert_int_equal(receive(r, r->agent_fd, got, sizeof(got)), 0);
}

static void the_end_goes_the_other_way_too(void **state)
{
	struct relay *r = *state;
	char got[8];
	int guest = dial(r);
	assert_int_equal(send(r->agent_fd, "last", 4, 0), 4);
	close(TAKE_FD(r->agent_fd));
	assert_int_equal(receive(r, guest, got, sizeof(got)), 4);
	assert_int_equal(receive(r, guest, got, sizeof(got)), 0);
	close(guest);
}

static void more_than_the_buffers_hold_arrives_in_order(void **state)
{
	struct relay *r = *state;
	enum { TOTAL = 4 << 20 };
	static uint32_t words[4096], got[4096];
	uint32_t sent = 0, received = 0;
	int guest = dial(r);
	assert_int_equal(fcntl(guest, F_SETFL, O_NONBLOCK), 0);
	size_t partial = 0; /* sent bytes of the current block */
	int64_t deadline_ns = clock_deadline_ns(60000);
	while (received < TOTAL / 4) {
		if (sent < TOTAL / 4) {
			for (uint32_t i = 0; i < MVM_ARRAY_SIZE(words); i++)
				words[i] = sent + i;
			ssize_t n = send(guest, (char *)words + partial, sizeof(words) - partial,
					 MSG_DONTWAIT);
			partial += n > 0 ? (size_t)n : 0;
			if (partial == sizeof(words)) {
				sent += MVM_ARRAY_SIZE(words);
				partial = 0;
			}
		}
		assert_true(clock_now_ns() < deadline_ns);
		loop_run_once(r->loop, clock_now_ns()); /* without waiting */
		ssize_t n = recv(r->agent_fd, got, sizeof(got), MSG_DONTWAIT | MSG_PEEK);
		if (n < (ssize_t)sizeof(got[0]))
			continue;
		n -= n % 4;
		assert_int_equal(recv(r->agent_fd, got, (size_t)n, MSG_DONTWAIT), n);
		for (ssize_t i = 0; i < n / 4; i++)
			assert_int_equal(got[i], received++);
	}
	close(guest);
}

static void a_connection_is_handed_over_to_its_taker(void **state)
{
	struct relay *r = *state;
	char got[8];
	assert_int_equal(send(r->agent_fd, "early", 5, 0), 5);
	int guest = dial(r);
	while (r->taken_fd < 0)
		assert_int_equal(loop_run_once(r->loop, clock_deadline_ns(60000)), 0);
	assert_int_equal(recv(guest, got, sizeof(got), 0), 5);
	assert_int_equal(send(guest, "hello", 5, 0), 5);
	assert_int_equal(recv(r->taken_fd, got, sizeof(got), 0), 5); /* no loop in between */
	int another = dial(r);
	assert_int_equal(receive(r, another, got, sizeof(got)), 0);
	close(another);
	close(guest);
}

static void a_connection_that_nobody_takes_ends_the_channel(void **state)
{
	struct relay *r = *state;
	char got[8];
	r->taking_fails = -EPIPE;
	int guest = dial(r);
	assert_int_equal(receive(r, guest, got, sizeof(got)), 0);
	assert_int_equal(receive(r, r->agent_fd, got, sizeof(got)), 0);
	close(guest);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_machine_is_described_call_by_call),
		cmocka_unit_test(a_network_is_one_more_device),
		cmocka_unit_test(a_clone_gets_the_rate_of_its_own_start),
		cmocka_unit_test(a_rate_of_0_is_no_limit),
		cmocka_unit_test(a_machine_may_have_no_initrd),
		cmocka_unit_test(a_name_that_is_no_utf8_is_refused),
		cmocka_unit_test(actions_are_single_calls),
		cmocka_unit_test(names_become_ids_that_firecracker_accepts),
		cmocka_unit_test(the_command_line_ends_with_the_templates_additions),
		cmocka_unit_test(a_snapshot_depends_on_all_facts_of_firecracker),
		cmocka_unit_test(the_working_folder_links_to_the_vms_files),
		cmocka_unit_test(versions_are_read_and_compared),
		cmocka_unit_test(the_checksum_is_that_of_jones),
		cmocka_unit_test(the_socket_is_where_firecracker_connects_to),
		cmocka_unit_test_setup_teardown(bytes_sent_before_the_guest_dials_reach_it, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(a_connection_is_handed_over_to_its_taker,
						set_up_with_a_taker, tear_down),
		cmocka_unit_test_setup_teardown(a_connection_that_nobody_takes_ends_the_channel,
						set_up_with_a_taker, tear_down),
		cmocka_unit_test_setup_teardown(only_the_first_connection_counts, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_next_call_counts_when_the_connection_is_lost,
						set_up, tear_down),
		cmocka_unit_test_setup_teardown(the_end_comes_after_the_last_bytes, set_up,
						tear_down),
		cmocka_unit_test_setup_teardown(the_end_goes_the_other_way_too, set_up, tear_down),
		cmocka_unit_test_setup_teardown(more_than_the_buffers_hold_arrives_in_order, set_up,
						tear_down),
	};
	return cmocka_run_group_tests(tests, NULL, NULL);
}
