"""placeholder until the old flagfiles are mapped"""


def translate(args):
    return list(args)
