"""What `generate.rs` stores under which number."""

SITES = 94


def site(number):
    return f'tenant-{number % SITES}'


def host(number):
    return f'{site(number)}.lms.example'


def path(number):
    return f'/content/unit-{number // SITES % 1000}/v3/page-{number}.html'


def body(number):
    kind = number % 100
    length = 200 + number // 100 % 300 if kind < 60 else 2 << 10 if kind < 80 else 8 << 10 if kind < 92 else 32 << 10
    return (f'{number:016}' * (length // 16 + 1))[:length].encode()
