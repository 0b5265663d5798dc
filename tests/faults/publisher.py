from .cells import Case


def list_cases() -> list[Case]:
    return []
